from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class CallContext(_message.Message):
    __slots__ = ("tenant_id", "collection_id", "session_id", "request_id", "tier")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    collection_id: str
    session_id: str
    request_id: str
    tier: str
    def __init__(self, tenant_id: _Optional[str] = ..., collection_id: _Optional[str] = ..., session_id: _Optional[str] = ..., request_id: _Optional[str] = ..., tier: _Optional[str] = ...) -> None: ...
