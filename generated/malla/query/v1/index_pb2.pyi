from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from malla.common.v1 import envelope_pb2 as _envelope_pb2
from malla.common.v1 import scope_pb2 as _scope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckIndexesRequest(_message.Message):
    __slots__ = ("collection_id", "report_only")
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_ONLY_FIELD_NUMBER: _ClassVar[int]
    collection_id: str
    report_only: bool
    def __init__(self, collection_id: _Optional[str] = ..., report_only: _Optional[bool] = ...) -> None: ...

class InternalIndexResponse(_message.Message):
    __slots__ = ("success", "message", "data", "metadata", "error")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    message: str
    data: InternalIndexData
    metadata: _containers.MessageMap[str, _struct_pb2.Value]
    error: _envelope_pb2.Error
    def __init__(self, success: _Optional[bool] = ..., message: _Optional[str] = ..., data: _Optional[_Union[InternalIndexData, _Mapping]] = ..., metadata: _Optional[_Mapping[str, _struct_pb2.Value]] = ..., error: _Optional[_Union[_envelope_pb2.Error, _Mapping]] = ...) -> None: ...

class InternalIndexData(_message.Message):
    __slots__ = ("checks",)
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    checks: _containers.RepeatedCompositeFieldContainer[IndexCheck]
    def __init__(self, checks: _Optional[_Iterable[_Union[IndexCheck, _Mapping]]] = ...) -> None: ...

class IndexCheck(_message.Message):
    __slots__ = ("collection_id", "state", "differences", "seq", "documents", "chunks", "size_bytes")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[IndexCheck.State]
        OK: _ClassVar[IndexCheck.State]
        REBUILT: _ClassVar[IndexCheck.State]
        DIFFERS: _ClassVar[IndexCheck.State]
    STATE_UNSPECIFIED: IndexCheck.State
    OK: IndexCheck.State
    REBUILT: IndexCheck.State
    DIFFERS: IndexCheck.State
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    collection_id: str
    state: IndexCheck.State
    differences: _containers.RepeatedScalarFieldContainer[str]
    seq: int
    documents: int
    chunks: int
    size_bytes: int
    def __init__(self, collection_id: _Optional[str] = ..., state: _Optional[_Union[IndexCheck.State, str]] = ..., differences: _Optional[_Iterable[str]] = ..., seq: _Optional[int] = ..., documents: _Optional[int] = ..., chunks: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...
