from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResourceNotFound(_message.Message):
    __slots__ = ("resource_type", "resource_id")
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    resource_type: str
    resource_id: str
    def __init__(self, resource_type: _Optional[str] = ..., resource_id: _Optional[str] = ...) -> None: ...

class ResourceExists(_message.Message):
    __slots__ = ("resource_type", "resource_id")
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    resource_type: str
    resource_id: str
    def __init__(self, resource_type: _Optional[str] = ..., resource_id: _Optional[str] = ...) -> None: ...

class InvalidFields(_message.Message):
    __slots__ = ("violations",)
    class Violation(_message.Message):
        __slots__ = ("field", "description")
        FIELD_FIELD_NUMBER: _ClassVar[int]
        DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
        field: str
        description: str
        def __init__(self, field: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    violations: _containers.RepeatedCompositeFieldContainer[InvalidFields.Violation]
    def __init__(self, violations: _Optional[_Iterable[_Union[InvalidFields.Violation, _Mapping]]] = ...) -> None: ...

class MissingContext(_message.Message):
    __slots__ = ("parts",)
    PARTS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parts: _Optional[_Iterable[str]] = ...) -> None: ...

class LimitExceeded(_message.Message):
    __slots__ = ("limit", "allowed", "actual")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    limit: str
    allowed: int
    actual: int
    def __init__(self, limit: _Optional[str] = ..., allowed: _Optional[int] = ..., actual: _Optional[int] = ...) -> None: ...

class Overloaded(_message.Message):
    __slots__ = ("queue", "retry_after_ms")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    queue: str
    retry_after_ms: int
    def __init__(self, queue: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class UnsupportedContent(_message.Message):
    __slots__ = ("content_type", "supported")
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_FIELD_NUMBER: _ClassVar[int]
    content_type: str
    supported: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, content_type: _Optional[str] = ..., supported: _Optional[_Iterable[str]] = ...) -> None: ...

class DependencyUnavailable(_message.Message):
    __slots__ = ("dependency",)
    DEPENDENCY_FIELD_NUMBER: _ClassVar[int]
    dependency: str
    def __init__(self, dependency: _Optional[str] = ...) -> None: ...

class MissingScope(_message.Message):
    __slots__ = ("required", "granted")
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    required: str
    granted: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, required: _Optional[str] = ..., granted: _Optional[_Iterable[str]] = ...) -> None: ...

class BudgetExceeded(_message.Message):
    __slots__ = ("budget", "limit", "used", "reserved", "remaining", "requested", "resets_at")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    RESETS_AT_FIELD_NUMBER: _ClassVar[int]
    budget: str
    limit: float
    used: float
    reserved: float
    remaining: float
    requested: float
    resets_at: str
    def __init__(self, budget: _Optional[str] = ..., limit: _Optional[float] = ..., used: _Optional[float] = ..., reserved: _Optional[float] = ..., remaining: _Optional[float] = ..., requested: _Optional[float] = ..., resets_at: _Optional[str] = ...) -> None: ...
