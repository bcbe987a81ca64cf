"""Converts between Protobuf messages and their Pydantic views, field by field and by name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar, cast

from google.protobuf import json_format, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from pydantic import BaseModel

M = TypeVar("M", bound=Message)
P = TypeVar("P", bound=BaseModel)

_WELL_KNOWN = (struct_pb2.Struct, struct_pb2.Value, struct_pb2.ListValue)


def from_message(model: type[P], message: Message) -> P:
    """Returns the Pydantic view of a message. Raises pydantic.ValidationError where the two disagree."""
    return model.model_validate(to_dict(message))


def to_dict(message: Message) -> dict[str, Any]:
    """Returns a message as Python values: enum names, datetimes, plain dicts. Unset fields with presence are left out."""
    row: dict[str, Any] = {}
    for field in _fields(message):
        if field.has_presence and not message.HasField(field.name):
            continue
        row[field.name] = _field_value(field, getattr(message, field.name))
    return row


def _field_value(field: FieldDescriptor, value: Any) -> Any:
    if is_map(field):
        entry = _map_value(field)
        return {key: _single_value(entry, item) for key, item in value.items()}
    if field.is_repeated:
        return [_single_value(field, item) for item in value]
    return _single_value(field, value)


def _single_value(field: FieldDescriptor, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_ENUM:
        # A newer peer may know more values; to us they are the unspecified one.
        values = _enum(field).values_by_number
        return str(values.get(value, values[0]).name)
    if field.type != FieldDescriptor.TYPE_MESSAGE:
        return value
    if isinstance(value, timestamp_pb2.Timestamp):
        return value.ToDatetime(tzinfo=UTC)
    if isinstance(value, _WELL_KNOWN):
        return json_format.MessageToDict(value)
    return to_dict(value)


def to_message(model: BaseModel, message: type[M]) -> M:
    """Returns the message a model is the view of. Fields the message lacks are left out."""
    return from_dict(dict(model), message())


def from_dict(row: Mapping[str, Any], message: M) -> M:
    """Fills a message from Python values, as `to_dict` gives them, and returns it."""
    for field in _fields(message):
        value = row.get(field.name)
        if value is not None:
            _set_field(message, field, value)
    return message


def _set_field(message: Message, field: FieldDescriptor, value: Any) -> None:
    if is_map(field):
        entry = _map_value(field)
        target = getattr(message, field.name)
        for key, item in value.items():
            if entry.type == FieldDescriptor.TYPE_MESSAGE:
                _merge(target[key], item)
            else:
                target[key] = _scalar(entry, item)
    elif field.is_repeated:
        target = getattr(message, field.name)
        for item in value:
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                _merge(target.add(), item)
            else:
                target.append(_scalar(field, item))
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        target = getattr(message, field.name)
        target.SetInParent()
        _merge(target, value)
    else:
        setattr(message, field.name, _scalar(field, value))


def _merge(target: Message, value: Any) -> None:
    if isinstance(target, timestamp_pb2.Timestamp):
        if isinstance(value, datetime):
            target.FromDatetime(value)
    elif isinstance(target, _WELL_KNOWN):
        json_format.ParseDict(value, target)
    else:
        from_dict(dict(value), target)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum(field).values_by_name[value.name if isinstance(value, Enum) else value].number
    return value


def is_map(field: FieldDescriptor) -> bool:
    """Says whether a field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


# The descriptor types of protobuf's stubs are optional where a field of another kind has none.
def _fields(message: Message) -> list[FieldDescriptor]:
    return cast("list[FieldDescriptor]", message.DESCRIPTOR.fields)


def _map_value(field: FieldDescriptor) -> FieldDescriptor:
    return cast("Descriptor", field.message_type).fields_by_name["value"]


def _enum(field: FieldDescriptor) -> EnumDescriptor:
    return cast("EnumDescriptor", field.enum_type)
