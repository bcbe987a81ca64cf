"""Bases of the Python view of the contract."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import Field

from common.base_model import BaseModel


class BaseResponse(BaseModel):
    """Base of every public response."""

    success: bool
    message: str


class Error(BaseModel):
    """Says why a call failed, for a program."""

    type: str = ""
    code: str = ""
    details: dict[str, Any] = Field(default_factory=dict)


class ErrorResponse(BaseResponse):
    """The body of every failed HTTP call."""

    success: bool = False
    message: str = ""
    error: Error | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


DataT = TypeVar("DataT")


class InternalResponse(BaseModel, Generic[DataT]):
    """The standard envelope: `data` only on success, `error` only on failure."""

    success: bool
    message: str
    data: DataT | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    error: Error | None = None


class CallContext(BaseModel):
    """The call context as it is kept with work that outlives the call."""

    tenant_id: str = ""
    collection_id: str = ""
    session_id: str = ""
    request_id: str = ""
    tier: str = ""
