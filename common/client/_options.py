"""What a search and a question may say beside the words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar

from google.protobuf.message import Message

from common.models import SearchMode
from common.protobuf import from_dict

M = TypeVar("M", bound=Message)


class RetrievalOptions(TypedDict, total=False):
    """Options of what is searched.

    Attributes:
        k: How many passages; 5 where nothing is said.
        filter: Conditions on metadata, `{"tags": "billing", "year": {"gte": 2024}}`.
        mode: How passages are found.
        min_seq: Waits until this change is visible: a job's `seq`, to read your own write.
    """

    k: int
    filter: Mapping[str, Any]
    mode: SearchMode
    min_seq: int


class SearchOptions(RetrievalOptions, total=False):
    """Options of a search.

    Attributes:
        explain: Whether each result says how its score came about.
        context: Chunks to add to each passage on either side, at most 5.
        request_id: Idempotency key: the same key is billed once.
    """

    explain: bool
    context: int
    request_id: str


class QueryOptions(RetrievalOptions, total=False):
    """Options of a question.

    Attributes:
        model: The one that answers; the configured one where nothing is said.
        temperature: 0 for the likeliest words, up to 2 for the most varied.
        max_tokens: The most to produce.
        request_id: Idempotency key: the same key is billed once.
    """

    model: str
    temperature: float
    max_tokens: int
    request_id: str


def request_of(message: type[M], row: Mapping[str, Any]) -> M:
    """Returns the request with these fields. Raises TypeError for a name the message does not have."""
    unknown = set(row) - set(message.DESCRIPTOR.fields_by_name)
    if unknown:
        raise TypeError(f"unexpected options: {', '.join(sorted(unknown))}")
    return from_dict(row, message())
