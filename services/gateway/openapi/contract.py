"""Reads the descriptor set: its messages, enums and methods by full name, and what their comments say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Parsing the extensions of a descriptor set needs their Python modules to be loaded first.
from buf.validate import validate_pb2 as _validate_pb2  # noqa: F401
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from malla.common.v1 import scope_pb2

# Field numbers of descriptor.proto, which name an element's place in `SourceCodeInfo.Location.path`.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM = 2, 3, 4
_ENUM_VALUE = 2
_SERVICE_METHOD = 2

_BLANK_LINE = re.compile(r"\n\s*\n")
_TEMPLATE = re.compile(r"\{([^}=]+)=[^}]*\}")

Place = tuple[int, ...]


@dataclass(frozen=True)
class Binding:
    """One HTTP form of a method, as google.api.http has it."""

    verb: str
    path: str
    body: str


@dataclass(frozen=True)
class Method:
    """One RPC, its HTTP forms, and the scope that opens it."""

    service: str
    name: str
    description: str
    request: str
    response: str
    streams_response: bool
    scope: str
    bindings: tuple[Binding, ...]

    @property
    def full_name(self) -> str:
        """The service and the method: "QueryService.Search"."""
        return f"{self.service}.{self.name}"


class Contract:
    """The descriptor set by name.

    Attributes:
        messages: Every message by full name, nested ones and map entries too.
        enums: Every enum by full name.
        comments: The comment of every element by full name, wrapped lines joined.
        services: Names of the services that have methods, with their comments.
        methods: Every RPC, ordered by file name, then as declared.
    """

    def __init__(self, descriptors: bytes) -> None:
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, EnumDescriptorProto] = {}
        self.comments: dict[str, str] = {}
        self.services: dict[str, str] = {}
        self.methods: list[Method] = []
        files = FileDescriptorSet.FromString(descriptors).file
        for file in sorted(files, key=lambda file: file.name):
            self._add_file(file)

    def _add_file(self, file: FileDescriptorProto) -> None:
        places = {tuple(at.path): _paragraphs(at.leading_comments) for at in file.source_code_info.location}
        for index, enum in enumerate(file.enum_type):
            self._add_enum(enum, file.package, places, (_FILE_ENUM, index))
        for index, message in enumerate(file.message_type):
            self._add_message(message, file.package, places, (_FILE_MESSAGE, index))
        for index, service in enumerate(file.service):
            self._add_service(service, places, (_FILE_SERVICE, index))

    def _add_message(self, message: DescriptorProto, scope: str, places: dict[Place, str], place: Place) -> None:
        name = f"{scope}.{message.name}"
        self.messages[name] = message
        self.comments[name] = places.get(place, "")
        for index, field in enumerate(message.field):
            self.comments[f"{name}.{field.name}"] = places.get((*place, _MESSAGE_FIELD, index), "")
        for index, enum in enumerate(message.enum_type):
            self._add_enum(enum, name, places, (*place, _MESSAGE_ENUM, index))
        for index, nested in enumerate(message.nested_type):
            self._add_message(nested, name, places, (*place, _MESSAGE_NESTED, index))

    def _add_enum(self, enum: EnumDescriptorProto, scope: str, places: dict[Place, str], place: Place) -> None:
        name = f"{scope}.{enum.name}"
        self.enums[name] = enum
        self.comments[name] = places.get(place, "")
        for index, value in enumerate(enum.value):
            self.comments[f"{name}.{value.name}"] = places.get((*place, _ENUM_VALUE, index), "")

    def _add_service(self, service: ServiceDescriptorProto, places: dict[Place, str], place: Place) -> None:
        self.services[service.name] = places.get(place, "")
        for index, method in enumerate(service.method):
            comment = places.get((*place, _SERVICE_METHOD, index), "")
            self.methods.append(_method(service.name, method, comment))


def _method(service: str, method: MethodDescriptorProto, comment: str) -> Method:
    return Method(
        service=service,
        name=method.name,
        description=comment,
        request=method.input_type.lstrip("."),
        response=method.output_type.lstrip("."),
        streams_response=method.server_streaming,
        scope=_scope(method),
        bindings=tuple(_bindings(method)),
    )


def _scope(method: MethodDescriptorProto) -> str:
    """Names the scope of a method as tokens have it."""
    number: Any = method.options.Extensions[scope_pb2.scope]  # type: ignore[index]  # its stub does not say of what
    return scope_pb2.Scope.Name(number).removeprefix("SCOPE_").lower()


def _bindings(method: MethodDescriptorProto) -> Iterator[Binding]:
    if not method.options.HasExtension(annotations_pb2.http):
        return
    first = method.options.Extensions[annotations_pb2.http]
    for rule in (first, *first.additional_bindings):
        verb = rule.WhichOneof("pattern")
        if verb and verb != "custom":
            yield Binding(verb, _TEMPLATE.sub(r"{\1}", getattr(rule, verb)), rule.body)


def _paragraphs(comment: str) -> str:
    """Joins the lines of each paragraph: renderers of Markdown may take a line's end for a line break."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in _BLANK_LINE.split(comment.strip()))
