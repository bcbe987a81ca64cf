"""Bases of the Python view of the contract."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import pydantic
from pydantic import ConfigDict, Field


class BaseModel(pydantic.BaseModel):
    """Base of every data model."""

    model_config = ConfigDict(from_attributes=True, arbitrary_types_allowed=True, extra="ignore")


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
