"""Makes JSON Schemas of messages and enums as the transcoder prints them (ProtoJSON with proto field names)."""

from __future__ import annotations

from collections import Counter

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from services.gateway.openapi.contract import Contract
from services.gateway.openapi.rules import Schema, default_of, is_required, item_keywords, keywords, rules_of

_FIELD = FieldDescriptorProto
_INT64: Schema = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_UINT64: Schema = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
_INT32: Schema = {"type": "integer", "format": "int32"}
_UINT32: Schema = {"type": "integer", "format": "uint32", "minimum": 0}

_SCALARS: dict[int, Schema] = {
    _FIELD.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _FIELD.TYPE_FLOAT: {"type": "number", "format": "float"},
    _FIELD.TYPE_INT64: _INT64,
    _FIELD.TYPE_SINT64: _INT64,
    _FIELD.TYPE_SFIXED64: _INT64,
    _FIELD.TYPE_UINT64: _UINT64,
    _FIELD.TYPE_FIXED64: _UINT64,
    _FIELD.TYPE_INT32: _INT32,
    _FIELD.TYPE_SINT32: _INT32,
    _FIELD.TYPE_SFIXED32: _INT32,
    _FIELD.TYPE_UINT32: _UINT32,
    _FIELD.TYPE_FIXED32: _UINT32,
    _FIELD.TYPE_BOOL: {"type": "boolean"},
    _FIELD.TYPE_STRING: {"type": "string"},
    _FIELD.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}

HTTP_BODY = "google.api.HttpBody"
BINARY: Schema = {"type": "string", "format": "binary"}

# Messages that ProtoJSON prints in a form of their own.
_WELL_KNOWN: dict[str, Schema] = {
    HTTP_BODY: BINARY,
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
        "additionalProperties": True,
    },
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Value": {},
}


class Schemas:
    """Makes schemas and gathers, as components, the messages and enums they refer to.

    A message has two forms. As it is sent, a field is required where a rule refuses its absence; as it is answered, wherever
    the transcoder always prints it. One that goes both ways has a component for each.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._names = _short_names([*contract.messages, *contract.enums])
        self._components: dict[str, Schema] = {}
        self._answered = _reachable(contract, [method.response for method in contract.methods])

    def components(self) -> dict[str, Schema]:
        """Returns everything referred to so far, by name."""
        return dict(sorted(self._components.items()))

    def reference(self, full_name: str, *, sent: bool = False) -> Schema:
        """Returns a schema that refers to a message or an enum; a form of its own where ProtoJSON has one."""
        if full_name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[full_name])
        is_enum = full_name in self._contract.enums
        name = self._names[full_name] + ("Input" if sent and not is_enum and full_name in self._answered else "")
        if name not in self._components:
            self._components[name] = {}  # holds the place: messages may refer to themselves
            self._components[name] = self._enum(full_name) if is_enum else self.message(full_name, sent=sent)
        return {"$ref": f"#/components/schemas/{name}"}

    def message(self, full_name: str, without: frozenset[str] = frozenset(), *, sent: bool = False) -> Schema:
        """Returns the object schema of a message, `without` the fields that travel elsewhere."""
        message = self._contract.messages[full_name]
        fields = [field for field in message.field if field.name not in without]
        schema: Schema = {"type": "object"}
        if description := self._describe_message(full_name):
            schema["description"] = description
        schema["properties"] = {field.name: self.field(full_name, field, sent=sent) for field in fields}
        if required := [field.name for field in fields if (is_required(field) if sent else _always_printed(field))]:
            schema["required"] = required
        if alternatives := [_alternatives(names) for names in _oneofs(message)]:
            schema |= alternatives[0] if len(alternatives) == 1 else {"allOf": alternatives}
        return schema

    def field(self, message: str, field: FieldDescriptorProto, *, sent: bool = False) -> Schema:
        """Returns the schema of one field, with its comment and its rules."""
        rules = rules_of(field)
        schema = self._value(field, sent=sent)
        if field.label == _FIELD.LABEL_REPEATED and "additionalProperties" not in schema:
            schema = {"type": "array", "items": schema | item_keywords(rules)}
        schema |= keywords(rules)
        comment = self._contract.comments[f"{message}.{field.name}"]
        if comment:
            schema["description"] = comment
        return schema | (default_of(comment, self._unsaid(field)) if sent else {})

    def _unsaid(self, field: FieldDescriptorProto) -> str:
        """Returns the comment of an enum's first value; empty for all other fields."""
        if field.type != _FIELD.TYPE_ENUM or field.label == _FIELD.LABEL_REPEATED:
            return ""
        full_name = field.type_name.lstrip(".")
        return self._contract.comments[f"{full_name}.{self._contract.enums[full_name].value[0].name}"]

    def _value(self, field: FieldDescriptorProto, *, sent: bool) -> Schema:
        if field.type in _SCALARS:
            return dict(_SCALARS[field.type])
        full_name = field.type_name.lstrip(".")
        entry = self._contract.messages.get(full_name)
        if entry is not None and entry.options.map_entry:
            return {"type": "object", "additionalProperties": self._value(entry.field[1], sent=sent)}
        return self.reference(full_name, sent=sent)

    def _enum(self, full_name: str) -> Schema:
        names = [value.name for value in self._contract.enums[full_name].value]
        comments = self._contract.comments
        lines = [f"- `{name}`: {comments[f'{full_name}.{name}']}" for name in names]
        return {"type": "string", "description": "\n".join([comments[full_name], "", *lines]), "enum": names}

    def _describe_message(self, full_name: str) -> str:
        """Says what the schema of a oneof says too: not every reader of it shows that."""
        parts = [self._contract.comments[full_name]]
        for fields in _oneofs(self._contract.messages[full_name]):
            parts.append(f"Holds at most one of {', '.join(f'`{name}`' for name in fields)}.")
        return "\n\n".join(part for part in parts if part)


def _always_printed(field: FieldDescriptorProto) -> bool:
    """Says whether the transcoder prints a field without a value: it does where ProtoJSON has no word for absence."""
    is_list = field.label == _FIELD.LABEL_REPEATED
    return is_list or (field.type != _FIELD.TYPE_MESSAGE and not field.HasField("oneof_index"))


def _alternatives(names: list[str]) -> Schema:
    """Returns a keyword that holds where exactly one of the fields is there, or none."""
    each: list[Schema] = [{"title": name, "required": [name]} for name in names]
    return {"oneOf": [*each, {"title": "none of them", "not": {"anyOf": [{"required": [name]} for name in names]}}]}


def _reachable(contract: Contract, names: list[str]) -> frozenset[str]:
    """Returns the messages and all that their fields are made of."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if (name := waiting.pop()) not in found and name in contract.messages:
            found.add(name)
            waiting += [field.type_name.lstrip(".") for field in contract.messages[name].field]
    return frozenset(found)


def _oneofs(message: DescriptorProto) -> list[list[str]]:
    """Names the fields of each oneof, less those that only mark a field as optional."""
    fields = [field for field in message.field if field.HasField("oneof_index") and not field.proto3_optional]
    return [[field.name for field in fields if field.oneof_index == index] for index in sorted({f.oneof_index for f in fields})]


def _short_names(full_names: list[str]) -> dict[str, str]:
    """Drops the package of every name that stays unique without it."""
    short = {name: ".".join(part for part in name.split(".") if part[:1].isupper()) for name in full_names}
    count = Counter(short.values())
    return {name: brief if count[brief] == 1 else name for name, brief in short.items()}
