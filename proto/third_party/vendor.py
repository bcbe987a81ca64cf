"""Refreshes the third-party protos beside this file from the pinned Python packages.

googleapis-common-protos ships its sources, so they are copied. protovalidate ships only the compiled descriptor of
`buf/validate/validate.proto`, so its schema is printed back as text: what buf checks against is then exactly what the
installed validator enforces, at every version.

Run: python proto/third_party/vendor.py
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from google import api, rpc
from google.protobuf import descriptor_pb2 as d
from protovalidate._gen.buf.validate import validate_pb

HERE = Path(__file__).parent
GOOGLE_API = ("annotations.proto", "http.proto", "httpbody.proto", "field_behavior.proto")
GOOGLE_RPC = ("status.proto", "error_details.proto", "code.proto")

_Field = d.FieldDescriptorProto
_LABELS = {_Field.LABEL_OPTIONAL: "optional ", _Field.LABEL_REQUIRED: "required ", _Field.LABEL_REPEATED: "repeated "}
_HEADER = """\
// Printed from the descriptor in the protovalidate package by vendor.py. Not edited by hand.
// Copyright 2023-2026 Buf Technologies, Inc. Licensed under the Apache License, Version 2.0.
"""


def main() -> None:
    """Writes every vendored proto under its own module folder."""
    _copy(Path(next(iter(api.__path__))), GOOGLE_API, HERE / "googleapis/google/api")
    _copy(Path(next(iter(rpc.__path__))), GOOGLE_RPC, HERE / "googleapis/google/rpc")
    file = d.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    target = HERE / "protovalidate" / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_HEADER + "\n".join(_print_file(file)) + "\n")


def _copy(source: Path, names: Iterable[str], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)


def _print_file(file: d.FileDescriptorProto) -> Iterator[str]:
    yield f'syntax = "{file.syntax or "proto2"}";'
    yield f"package {file.package};"
    yield from (f'import "{name}";' for name in file.dependency)
    for extension in file.extension:
        yield f"extend {extension.extendee} {{\n  {_print_field(extension, file.syntax)}\n}}"
    for enum in file.enum_type:
        yield from _print_enum(enum)
    for message in file.message_type:
        yield from _print_message(message, file.syntax)


def _print_enum(enum: d.EnumDescriptorProto) -> Iterator[str]:
    yield f"enum {enum.name} {{"
    yield from (f"  {value.name} = {value.number};" for value in enum.value)
    yield "}"


def _print_message(message: d.DescriptorProto, syntax: str) -> Iterator[str]:
    yield f"message {message.name} {{"
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    for nested in message.nested_type:
        if nested.name not in maps:
            yield from _print_message(nested, syntax)
    for enum in message.enum_type:
        yield from _print_enum(enum)
    for index, oneof in enumerate(message.oneof_decl):
        members = [f for f in message.field if f.HasField("oneof_index") and f.oneof_index == index]
        if not any(f.proto3_optional for f in members):
            yield f"  oneof {oneof.name} {{"
            yield from ("    " + _print_field(f, syntax, in_oneof=True) for f in members)
            yield "  }"
    for field in message.field:
        if not field.HasField("oneof_index") or field.proto3_optional:
            yield "  " + _print_field(field, syntax)
    yield from (f"  extensions {r.start} to {_range_end(r.end)};" for r in message.extension_range)
    yield from (f"  reserved {r.start} to {r.end - 1};" for r in message.reserved_range)
    yield from (f'  reserved "{name}";' for name in message.reserved_name)
    yield "}"


def _range_end(end: int) -> str:
    return "max" if end > 1 << 28 else str(end - 1)


def _print_field(field: _Field, syntax: str, *, in_oneof: bool = False) -> str:
    kind = field.type_name or _Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    implicit = syntax == "proto3" and field.label == _Field.LABEL_OPTIONAL and not field.proto3_optional
    label = "" if in_oneof or implicit else _LABELS[field.label]
    return f"{label}{kind} {field.name} = {field.number};"


if __name__ == "__main__":
    main()
