"""Names that users give, as the record holds them.

The embedded database takes a text that begins like a date for a time: it finds no row by the name `2024-01-15-acta.md`. Such
a name is held with a mark before it; a tenant's, too, and what begins with it, as identifiers of rows do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAMED = ("_id", "tenant_id", "collection_id", "document_id", "session_id", "request_id")
# Before every letter and digit, so that lists stay nearly in the order of their names.
_MARK = "!"
_LIKE_A_DATE = re.compile(_MARK + r"*\d{2,4}[-/]\d{2}[-/]")


def held(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields of a row, or of a filter, as the record holds them."""
    return {name: _marked(value) if name in _NAMED else value for name, value in fields.items()}


def held_name(name: str) -> str:
    """Returns a name as the record holds it, by which it sorts."""
    return _MARK + name if _LIKE_A_DATE.match(name) else name


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of the record with the names that were given."""
    for name in _NAMED:
        value = row.get(name)
        if isinstance(value, str) and value.startswith(_MARK) and _LIKE_A_DATE.match(value):
            row[name] = value[len(_MARK) :]
    return row


def _marked(value: Any) -> Any:
    if isinstance(value, str):
        return held_name(value)
    if isinstance(value, Mapping):
        return {operator: _marked(operand) for operator, operand in value.items()}
    return [_marked(one) for one in value] if isinstance(value, list) else value
