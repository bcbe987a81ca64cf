"""What of a request breaks the contract's rules, said so that a person can put it right."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import protovalidate
from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from common.protobuf import is_map

IN_WORDS = {
    "^[a-z0-9][a-z0-9_-]{0,63}$": (
        "must be 1 to 64 lower-case letters, digits, '-' and '_', of which the first is a letter or a digit"
    ),
    "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$": (
        "must be 1 to 128 letters without accents, digits and any of . _ : @ -, of which the first is a letter or a digit"
    ),
    "^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$": (
        "must be at most 128 letters without accents, digits, '.', '_' and '-', of which the first is a letter or a digit;"
        " leave it out for one that is made"
    ),
    "^([a-z]{2})?$": "must be a code of two lower-case letters, such as es or en; leave it out for none",
}
"""Each pattern of the contract, for those who do not read regular expressions. The contract keeps the pattern itself, for
programs read it: the OpenAPI document, for one."""


_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
_NO_TIME = "must be a time of the years 1 to 9999, with 0 to 999,999,999 nanoseconds"
_NO_NUMBER = "must be a finite number"
_TIME, _VALUE, _STRUCT = (kind.DESCRIPTOR.full_name for kind in (timestamp_pb2.Timestamp, struct_pb2.Value, struct_pb2.Struct))

# What callers give freely is kept with each passage of a document, and with a conversation.
_MOST_KEPT_BYTES = 16 * 1024
_NO_NAME = "must not have a name with the character U+0000 in it: the record cannot hold it"
_TOO_MUCH = "must be at most 16 KiB: keep the rest in a system of your own, and name it here"


def violations_of(message: Message) -> Iterator[tuple[str, str]]:
    """Yields the path of each field that breaks a rule, and what the rule asks for.

    Beside the contract's rules those of the well-known types, which Protobuf's own JSON keeps and its wire format does not: a
    time that is none, and a number that is not finite, have no place in the record, in JSON, or in Python's own times; and BSON
    ends a name at U+0000. Free `metadata` have a size, too, which no rule of the contract's language can state.
    """
    for one in protovalidate.collect_violations(message):
        yield _field_path(one.proto), IN_WORDS.get(_pattern(one), one.proto.message)
    yield from _malformed(message, "")


def _malformed(message: Any, path: str) -> Iterator[tuple[str, str]]:
    name = message.DESCRIPTOR.full_name
    if name == _TIME:
        if not (_FIRST_S <= message.seconds <= _LAST_S and 0 <= message.nanos < 1_000_000_000):
            yield path, _NO_TIME
    elif name == _VALUE and message.HasField("number_value"):
        if not math.isfinite(message.number_value):
            yield path, _NO_NUMBER
    elif _may_be_malformed(message.DESCRIPTOR):
        for field, value in message.ListFields():
            if field.name == "metadata" and field.message_type.full_name == _STRUCT and value.ByteSize() > _MOST_KEPT_BYTES:
                yield f"{path}.{field.name}".lstrip("."), _TOO_MUCH
            elif field.message_type is not None and _may_be_malformed(field.message_type):
                if is_map(field) and any("\0" in str(key) for key in value):
                    yield f"{path}.{field.name}".lstrip("."), _NO_NAME
                for key, one in _each(field, value):
                    yield from _malformed(one, f"{path}.{field.name}{key}".lstrip("."))


def _each(field: Any, value: Any) -> Iterable[tuple[str, Any]]:
    if is_map(field):
        return ((f"[{key}]", value[key]) for key in value)
    return ((f"[{place}]", one) for place, one in enumerate(value)) if field.is_repeated else [("", value)]


@functools.cache
def _may_be_malformed(kind: Descriptor) -> bool:
    """Whether a message of this kind is one of those types, or holds one at any depth: most do not, and are not looked into."""
    seen, open_ones = {kind.full_name}, [kind]
    while open_ones:
        inner = [field.message_type for field in open_ones.pop().fields if field.message_type is not None]
        open_ones += [one for one in inner if one.full_name not in seen]
        seen.update(one.full_name for one in inner)
    return not seen.isdisjoint({_TIME, _VALUE})


def _pattern(violation: Any) -> str:
    return str(violation.rule_value) if violation.proto.rule_id == "string.pattern" else ""


def _field_path(violation: Any) -> str:
    path = ""
    for element in violation.field.elements if violation.field else ():
        path += f".{element.field_name}" if path else element.field_name
        index = _subscript(element)
        path += "" if index is None else f"[{index}]"
    return path


def _subscript(element: Any) -> Any:
    subscript = element.subscript
    return None if subscript is None else subscript.value
