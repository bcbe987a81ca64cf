"""Shows the simple `buf.validate` rules of a field as JSON Schema keywords."""

from __future__ import annotations

import re
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

Schema = dict[str, Any]

_LENGTHS = {"len": ("minLength", "maxLength"), "min_len": ("minLength",), "max_len": ("maxLength",)}
_STRING_FORMATS = {"email": "email", "hostname": "hostname", "uri": "uri", "uuid": "uuid", "ipv4": "ipv4", "ipv6": "ipv6"}
_BOUNDS = {"gte": "minimum", "lte": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
_SIZES = {
    "repeated": {"min_items": "minItems", "max_items": "maxItems"},
    "map": {"min_pairs": "minProperties", "max_pairs": "maxProperties"},
}
_ZERO_MEANS = re.compile(r"\b0 for (\d+)\b")
_EMPTY_MEANS = re.compile(r'\b[Ee]mpty for "([^"]+)"')
_UNSAID_MEANS = re.compile(r"\btaken as (\w+)")
_INTEGERS_AS_STRINGS = frozenset({"int64", "uint64", "sint64", "fixed64", "sfixed64"})


def rules_of(field: FieldDescriptorProto) -> validate_pb2.FieldRules:
    """Returns the rules of a field, empty where there are none."""
    extensions: Any = field.options.Extensions  # the stubs of two generators do not agree on what an extension is
    rules: validate_pb2.FieldRules = extensions[validate_pb2.field]
    return rules


def keywords(rules: validate_pb2.FieldRules) -> Schema:
    """Returns the keywords for the value of a field; rules that JSON Schema cannot say are left to the comment."""
    kind = rules.WhichOneof("type")
    if kind is None:
        return {}
    typed = getattr(rules, kind)
    if kind == "string":
        return _string(typed)
    if kind in _SIZES:
        sizes: Schema = {keyword: getattr(typed, rule) for rule, keyword in _SIZES[kind].items() if typed.HasField(rule)}
        return sizes | ({"uniqueItems": True} if kind == "repeated" and typed.unique else {})
    if kind in _INTEGERS_AS_STRINGS:
        return {"pattern": "^[0-9]+$"} if _above_minus_one(typed) else {}
    return {keyword: _shortest(getattr(typed, rule)) for rule, keyword in _BOUNDS.items() if _has(typed, rule)}


def item_keywords(rules: validate_pb2.FieldRules) -> Schema:
    """Returns the keywords for each item of a repeated field."""
    return keywords(rules.repeated.items) if rules.WhichOneof("type") == "repeated" else {}


def default_of(comment: str, unsaid: str = "") -> Schema:
    """Returns what a field that is not sent stands for, where its comment says so: "0 for 50", 'Empty for "es"'.

    Args:
        comment: The field's.
        unsaid: The comment of the value that says nothing, for an enum: "Not said; taken as HYBRID".
    """
    if found := _ZERO_MEANS.search(comment):
        return {"default": int(found[1])}
    found = _EMPTY_MEANS.search(comment) or _UNSAID_MEANS.search(unsaid)
    return {"default": found[1]} if found else {}


def is_required(field: FieldDescriptorProto) -> bool:
    """Says whether a request without the field is refused: a rule asks for it, or its zero value breaks a rule."""
    rules = rules_of(field)
    if rules.required:
        return True
    kind = rules.WhichOneof("type")
    if kind is None or field.proto3_optional or rules.ignore != validate_pb2.IGNORE_UNSPECIFIED:
        return False
    return _refuses_zero(kind, getattr(rules, kind))


def _refuses_zero(kind: str, typed: Any) -> bool:
    if kind == "string":
        allowed = getattr(typed, "in")
        return typed.min_len > 0 or typed.len > 0 or not re.search(typed.pattern, "") or (bool(allowed) and "" not in allowed)
    if kind == "repeated":
        return bool(typed.min_items > 0)
    return (_has(typed, "gt") and typed.gt >= 0) or (_has(typed, "gte") and typed.gte > 0)


def _string(typed: validate_pb2.StringRules) -> Schema:
    schema: Schema = {}
    for rule, names in _LENGTHS.items():
        if typed.HasField(rule):
            schema.update(dict.fromkeys(names, getattr(typed, rule)))
    if typed.HasField("pattern"):
        schema["pattern"] = typed.pattern
    known = typed.WhichOneof("well_known")
    if known in _STRING_FORMATS:
        schema["format"] = _STRING_FORMATS[known]
    if getattr(typed, "in"):
        schema["enum"] = list(getattr(typed, "in"))
    return schema


def _above_minus_one(typed: Any) -> bool:
    return (_has(typed, "gte") and typed.gte >= 0) or (_has(typed, "gt") and typed.gt >= -1)


def _has(typed: Any, rule: str) -> bool:
    return rule in typed.DESCRIPTOR.fields_by_name and typed.HasField(rule)


def _shortest(bound: float) -> float:
    """Undoes the widening of 32-bit floats: 0.1 must not be shown as 0.10000000149011612."""
    return bound if isinstance(bound, int) else float(f"{bound:.7g}")
