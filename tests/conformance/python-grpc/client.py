"""A client of our own on Google's gRPC stack: it reads the answer as the protocol means it, and draws.

OpenTelemetry's Python SDK has no published remote sampler, so no sampler of a third party stands here; what is real is
the transport and the protobuf decoder. See ../README.md for what is said over stdin and stdout.
"""

import json
import random
import sys
from pathlib import Path

import grpc

PROTO_ROOT = Path(__file__).resolve().parents[3] / "proto"
TIMEOUT_SECONDS = 5
DRAWS = 10_000

sys.path.append(str(PROTO_ROOT))  # where the next line looks for the file
messages, services = grpc.protos_and_services("jaeger/api_v2/sampling.proto")


def probability_of(answer, operation: str) -> float:
    """Per-operation strategies win over the service's own, and their default over its rate."""
    if not answer.HasField("operationSampling"):
        return answer.probabilisticSampling.samplingRate
    for strategy in answer.operationSampling.perOperationStrategies:
        if strategy.operation == operation:
            return strategy.probabilisticSampling.samplingRate
    return answer.operationSampling.defaultSamplingProbability


def flaws_of(answer) -> list[str]:
    """What some other client would stumble over."""
    flaws = []
    if answer.strategyType != messages.SamplingStrategyType.Value("PROBABILISTIC"):
        flaws.append("the type is not PROBABILISTIC")
    if not answer.HasField("probabilisticSampling"):
        flaws.append("no rate at the top level")
    if answer.HasField("rateLimitingSampling"):
        flaws.append("a rate limit")
    if answer.HasField("operationSampling"):
        strategies = answer.operationSampling.perOperationStrategies
        if not all(s.operation and s.HasField("probabilisticSampling") for s in strategies) or not strategies:
            flaws.append("an operation without a name or a rate, or none at all")
    return flaws


def main(endpoint: str, service: str, operations: list[str]) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        stub = services.SamplingManagerStub(channel)
        errors = 0
        for _ in sys.stdin:
            question = messages.SamplingStrategyParameters(serviceName=service)
            answer = stub.GetSamplingStrategy(question, timeout=TIMEOUT_SECONDS)
            for flaw in flaws_of(answer):
                errors += 1
                print(flaw, file=sys.stderr, flush=True)
            probabilities = [probability_of(answer, operation) for operation in operations]
            sampled = [sum(random.random() < p for _ in range(DRAWS)) for p in probabilities]
            print(json.dumps({"of": DRAWS, "sampled": sampled, "errors": errors}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
