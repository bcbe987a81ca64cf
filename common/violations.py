"""What of a request breaks the contract's rules, said so that a person can put it right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import protovalidate
from google.protobuf.message import Message

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


def violations_of(message: Message) -> Iterator[tuple[str, str]]:
    """Yields the path of each field that breaks a rule, and what the rule asks for."""
    for one in protovalidate.collect_violations(message):
        yield _field_path(one.proto), IN_WORDS.get(_pattern(one), one.proto.message)


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
