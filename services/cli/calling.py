"""Calls any method of the contract by its name, as the compiled contract describes it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from common.channel import call_options
from common.context import Context
from common.settings import DESCRIPTORS
from common.status import from_rpc_error
from services.cli.output import CliError

_DEPENDENCY = "mesh"


@dataclass(frozen=True)
class Method:
    """A method of a service."""

    descriptor: MethodDescriptor

    @property
    def name(self) -> str:
        """Its full name, service/method."""
        return f"{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def is_internal(self) -> bool:
        """Whether only members of the mesh may call it."""
        return self.descriptor.containing_service.name.startswith("Internal")

    def requests(self, text: str) -> list[Message]:
        """Reads what to send: an object, or for a stream of requests an array of them. Raises CliError."""
        try:
            given = json.loads(text or "{}")
        except ValueError as error:
            raise CliError(f'That is no JSON: {error}. Give an object, such as \'{{"query": "…"}}\'.') from None
        rows = given if isinstance(given, list) and self.descriptor.client_streaming else [given]
        return [self._request(row) for row in rows]

    def _request(self, row: Any) -> Message:
        message: Message = GetMessageClass(self.descriptor.input_type)()
        fields = ", ".join(field.name for field in self.descriptor.input_type.fields) or "none"
        try:
            return json_format.ParseDict(row, message)
        except (json_format.ParseError, TypeError, AttributeError) as error:
            said = str(error).partition(" Available Fields")[0].rstrip(". \n")  # they follow, as the contract spells them
            raise CliError(f"That is no {self.descriptor.input_type.name}: {said}. Its fields: {fields}.") from None

    async def call(
        self, channel: grpc.aio.Channel, requests: Sequence[Message], ctx: Context, token: str, timeout_s: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yields what is answered: one row, or those of a stream as they come. Raises a MallaError where the call fails."""
        extra = (("authorization", f"Bearer {token}"),) if token else ()
        given = iter(requests) if self.descriptor.client_streaming else requests[0]
        called = self._stub(channel)(given, **call_options(ctx, most_s=timeout_s, extra=extra))
        try:
            if self.descriptor.server_streaming:
                async for message in called:
                    yield _row(message)
            else:
                yield _row(await called)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, _DEPENDENCY) from error
        finally:
            called.cancel()

    def _stub(self, channel: grpc.aio.Channel) -> Any:
        shapes = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }
        shape: Any = shapes[self.descriptor.client_streaming, self.descriptor.server_streaming]
        return shape(
            f"/{self.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(self.descriptor.output_type).FromString,
        )


def _row(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def methods() -> list[Method]:
    """Returns every method of the contract, by name."""
    pool = DescriptorPool()
    files = [pool.AddSerializedFile(file.SerializeToString()) for file in _files()]
    found = [Method(method) for file in files for method in _methods(file)]
    return sorted(found, key=lambda method: method.name)


def _files() -> Sequence[Any]:
    return FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file


def _methods(file: FileDescriptor) -> Iterator[MethodDescriptor]:
    for service in file.services_by_name.values():
        yield from service.methods


def find_method(name: str) -> Method:
    """Returns the method meant by "Search", "QueryService/Search" or "malla.query.v1.QueryService/Search". Raises CliError."""
    wanted = name.strip("/").replace("/", ".")
    known = methods()
    found = [method for method in known if f".{method.name.replace('/', '.')}".lower().endswith(f".{wanted.lower()}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise CliError(f"'{name}' may be any of {', '.join(method.name for method in found)}. Give its service as well.")
    raise CliError(f"There is no method '{name}'. `malla call --list` names them all.")
