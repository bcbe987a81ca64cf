"""The base of every data model, apart from the models of the contract: a command that needs none of them does not load them."""

from __future__ import annotations

import pydantic
from pydantic import ConfigDict


class BaseModel(pydantic.BaseModel):
    """Base of every data model."""

    model_config = ConfigDict(from_attributes=True, arbitrary_types_allowed=True, extra="ignore")
