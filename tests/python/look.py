"""Looks at a coordinator as a stranger: it knows gRPC's reflection and health, and the names of Holdfast's services.

usage: look.py TARGET VAULT [CA CERT KEY]

TARGET is unix:PATH, or HOST:PORT with the three PEM files. Prints one JSON object: the services, the health of each,
the vaults, the snapshots of VAULT, and the google.rpc.ErrorInfo that a wrong vault name gives.
"""

import json
import sys

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# Nothing here takes longer on a busy machine.
SECONDS = 20


def main() -> None:
    target, vault, *files = sys.argv[1:]
    with open_channel(target, files) as channel:
        grpc.channel_ready_future(channel).result(timeout=SECONDS)
        database = ProtoReflectionDescriptorDatabase(channel)
        look = Look(channel, descriptor_pool.DescriptorPool(database))
        services = sorted(database.get_services())
        ours = [name for name in services if name.startswith("holdfast.")]
        vaults = look.call("holdfast.v1.Vaults", "ListVaults")
        snapshots = look.call("holdfast.v1.Restore", "ListSnapshots", vault=vault)
        print(
            json.dumps(
                {
                    "services": services,
                    "health": {name: look.health(name) for name in ["", *ours]},
                    "vaults": vaults.get("vaults", []),
                    "snapshots": snapshots.get("snapshots", []),
                    "error": look.failure("holdfast.v1.Vaults", "GetVault", vault="no-such-vault"),
                }
            )
        )


def open_channel(target: str, files: list[str]) -> grpc.Channel:
    if not files:
        # A socket's path is no host name: HTTP/2 wants one.
        return grpc.insecure_channel(target, options=[("grpc.default_authority", "localhost")])
    ca, cert, key = (open(name, "rb").read() for name in files)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(ca, key, cert))


class Look:
    """Calls methods by name, with messages made from what reflection tells."""

    def __init__(self, channel: grpc.Channel, pool: descriptor_pool.DescriptorPool):
        self.channel = channel
        self.pool = pool

    def call(self, service: str, method: str, /, **fields) -> dict:
        found = self.pool.FindServiceByName(service).FindMethodByName(method)
        request = message_factory.GetMessageClass(found.input_type)(**fields)
        answer_class = message_factory.GetMessageClass(found.output_type)
        path = f"/{service}/{method}"
        read = answer_class.FromString
        if found.server_streaming:
            answers = self.channel.unary_stream(path, lambda m: m.SerializeToString(), read)(request, timeout=SECONDS)
            merged = answer_class()
            for answer in answers:
                merged.MergeFrom(answer)
            return as_dict(merged)
        answer = self.channel.unary_unary(path, lambda m: m.SerializeToString(), read)(request, timeout=SECONDS)
        return as_dict(answer)

    def health(self, service: str) -> str:
        return self.call("grpc.health.v1.Health", "Check", service=service).get("status", "UNKNOWN")

    def failure(self, service: str, method: str, /, **fields) -> dict:
        try:
            self.call(service, method, **fields)
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata())
            info = error_info(trailers["grpc-status-details-bin"])
            return {"code": error.code().name, "message": error.details(), "info": info}
        sys.exit(f"{method} did not fail")


def as_dict(message) -> dict:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def error_info(details: bytes) -> dict:
    """Reads google.rpc.Status and ErrorInfo, whose descriptors are made here: grpcio brings none."""
    file = descriptor_pb2.FileDescriptorProto(name="rpc.proto", package="google.rpc", syntax="proto3")
    file.dependency.append("google/protobuf/any.proto")
    string, number, message = 9, 5, 11
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=number, label=1)
    status.field.add(name="message", number=2, type=string, label=1)
    status.field.add(name="details", number=3, type=message, label=3, type_name=".google.protobuf.Any")
    info = file.message_type.add(name="ErrorInfo")
    info.field.add(name="reason", number=1, type=string, label=1)
    info.field.add(name="domain", number=2, type=string, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    read = lambda name, text: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)).FromString(text)
    for detail in read("google.rpc.Status", details).details:
        if detail.type_url.endswith("/google.rpc.ErrorInfo"):
            found = read("google.rpc.ErrorInfo", detail.value)
            return {"reason": found.reason, "domain": found.domain}
    sys.exit("the error has no google.rpc.ErrorInfo")


if __name__ == "__main__":
    main()
