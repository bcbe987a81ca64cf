"""What is seen of retrieval, as one span a collection that is searched, and of the indexes: numbers only, never a question."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence, Sized
from typing import Any, Protocol, TypeVar, cast

from common.context import Context
from common.telemetry import Reading, active, observe, span


class Followed(Protocol):
    """A collection whose index may be in memory."""

    @property
    def index(self) -> Sized | None:
        """The index."""
        ...


class Follow(Protocol):
    """The indexes of a server."""

    @property
    def resident(self) -> Sequence[Followed]:
        """The collections whose index is in memory."""
        ...

    @property
    def size_bytes(self) -> int:
        """About what the indexes take in memory."""
        ...


FoundT = TypeVar("FoundT")
Search = Callable[..., Awaitable[FoundT]]  # of itself, what to find, and the context


def retrieval(search: Search[FoundT]) -> Search[FoundT]:
    """Makes each run of a search a span."""

    @functools.wraps(search)
    async def seen(self: object, spec: Any, ctx: Context, **more: Any) -> FoundT:
        if active() is None:
            return await search(self, spec, ctx, **more)
        facts = {
            "malla.search.collection": spec.collection_id,
            "malla.search.mode": str(spec.mode.value).lower(),
            "malla.search.k": spec.k,
            "malla.search.filtered": bool(spec.filter),
        }
        with span("retrieval", facts) as own:
            found: Any = await search(self, spec, ctx, **more)
            own.set("malla.search.results", len(found.results))
            own.set("malla.search.nearest", float(found.nearest))
            own.set("malla.search.seq", found.seq)
            return cast("FoundT", found)

    return seen


def observe_indexes(follow: Follow) -> None:
    """Reports how many collections are in memory, how many passages they hold and what they take."""

    def passages() -> Iterable[Reading]:
        return [(sum(len(followed.index) for followed in follow.resident if followed.index is not None), {})]

    observe(
        "malla.index.collections",
        lambda: [(len(follow.resident), {})],
        unit="{collection}",
        description="Collections whose index is in memory.",
    )
    observe("malla.index.passages", passages, unit="{passage}", description="Passages, each with its vector, in memory.")
    observe(
        "malla.index.size",
        lambda: [(follow.size_bytes, {})],
        unit="By",
        description="About what the indexes take in memory.",
    )
