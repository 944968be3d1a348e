"""Asks the standard gRPC health service, as an orchestrator's probe does, and prints one JSON object."""

import json
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 5


def status_of(stub, service: str) -> str:
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        return error.code().name
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def main(endpoint: str, services: list[str]) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        print(json.dumps({service: status_of(stub, service) for service in services}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
