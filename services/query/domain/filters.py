"""Metadata filters: `{"tags": "billing", "year": {"gte": 2024}}`. All conditions must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.errors import InvalidArgumentError

Predicate = Callable[[Mapping[str, Any]], bool]
_Test = Callable[[Any], bool]

_OPERATORS = ("in", "gt", "gte", "lt", "lte", "exists")


def compile_filter(conditions: Mapping[str, Any]) -> Predicate:
    """Returns a test of a passage's metadata. A list in the metadata matches when one of its elements does.

    Raises InvalidArgumentError for an operator or operand that is none.
    """
    tests = [(name, _compile(name, wanted)) for name, wanted in conditions.items()]
    return lambda metadata: all(test(metadata.get(name)) for name, test in tests)


def _compile(name: str, wanted: Any) -> _Test:
    if isinstance(wanted, list):
        raise InvalidArgumentError([(f"filter.{name}", 'to match one of several values write {"in": [...]}')])
    if not isinstance(wanted, Mapping):
        return _any(lambda value: _equal(value, wanted))
    if not wanted:
        raise InvalidArgumentError([(f"filter.{name}", f"holds no operator; use a value, or one of {', '.join(_OPERATORS)}")])
    tests = [_operator(name, operator, operand) for operator, operand in wanted.items()]
    return lambda value: all(test(value) for test in tests)


def _operator(name: str, operator: str, operand: Any) -> _Test:
    where = f"filter.{name}"
    if operator == "exists" and isinstance(operand, bool):
        return lambda value: (value is not None) is operand
    if operator == "in" and isinstance(operand, list):
        return _any(lambda value: any(_equal(value, one) for one in operand))
    if operator in {"gt", "gte", "lt", "lte"} and isinstance(operand, int | float | str) and not isinstance(operand, bool):
        return _any(lambda value: _compares(operator, value, operand))
    if operator in _OPERATORS:
        raise InvalidArgumentError([(where, f"the operand of '{operator}' has the wrong type")])
    raise InvalidArgumentError([(where, f"'{operator}' is no operator; use a value, or one of {', '.join(_OPERATORS)}")])


def _any(test: _Test) -> _Test:
    return lambda value: any(test(item) for item in value) if isinstance(value, list) else test(value)


def _equal(value: Any, wanted: Any) -> bool:
    # To Python, true is 1.
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)


def _compares(operator: str, value: Any, operand: Any) -> bool:
    numbers = isinstance(value, int | float) and isinstance(operand, int | float)
    if isinstance(value, bool) or not (numbers or (isinstance(value, str) and isinstance(operand, str))):
        return False
    return bool({"gt": value > operand, "gte": value >= operand, "lt": value < operand, "lte": value <= operand}[operator])
