"""Jaeger's own Python client, retired but still deployed.

See ../README.md for what is said over stdin and stdout.
"""

import json
import random
import sys

from jaeger_client import ConstSampler, RemoteControlledSampler
from jaeger_client.local_agent_net import LocalAgentSender

POLL_SECONDS = 0.1
DRAWS = 10_000


class Complaints:
    """Takes the sampler's errors, which it reports to an object of this shape."""

    def __init__(self) -> None:
        self.count = 0

    def error(self, name: str, *arguments: object) -> None:
        self.count += 1
        print(name % arguments, file=sys.stderr, flush=True)


def main(endpoint: str, service: str, operations: list[str]) -> None:
    host, port = endpoint.rsplit(":", 1)
    complaints = Complaints()
    sampler = RemoteControlledSampler(
        # The reporting port is a UDP one that nothing is sent to.
        LocalAgentSender(host, sampling_port=int(port), reporting_port=9),
        service,
        init_sampler=ConstSampler(True),
        sampling_refresh_interval=POLL_SECONDS,
        error_reporter=complaints,
    )

    def sampled_of(operation: str) -> int:
        return sum(sampler.is_sampled(random.getrandbits(64), operation)[0] for _ in range(DRAWS))

    for _ in sys.stdin:
        sampled = [sampled_of(operation) for operation in operations]
        print(json.dumps({"of": DRAWS, "sampled": sampled, "errors": complaints.count}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
