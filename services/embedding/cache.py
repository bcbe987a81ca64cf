"""Vectors remembered by their text, for each tenant apart."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.context import Context
from common.models import EmbeddingKind, EmbeddingPriority
from services.embedding.ports import Matrix
from services.embedding.usecases import Batches, Computed

_ENTRY_BYTES = 400
"""What a remembered vector takes beside its components: its key, its place in the order, the objects around it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a text: its vector as float32, what it cost, and whether it was cut."""

    vector: bytes
    tokens: int
    truncated: bool


class VectorCache:
    """Remembers vectors within a number of bytes; those asked for least recently are forgotten first.

    Keyed by tenant as well: one that shared it could tell by the time a call takes what another has embedded. Models are told
    apart by the name they are served by, which stands for one model as long as the process lives.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    @property
    def taken_bytes(self) -> int:
        """What the remembered vectors take."""
        return self._bytes

    def get(self, key: bytes) -> Known | None:
        """Returns what is remembered, None if nothing is."""
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
        return known

    def put(self, key: bytes, known: Known) -> None:
        """Remembers it, and forgets others for it."""
        if _size(known) > self._most_bytes:
            return
        if (before := self._known.pop(key, None)) is not None:
            self._bytes -= _size(before)
        self._known[key] = known
        self._bytes += _size(known)
        while self._bytes > self._most_bytes:
            _, forgotten = self._known.popitem(last=False)
            self._bytes -= _size(forgotten)


@dataclass(frozen=True)
class Remembered:
    """The rows of one call, some of which may have been remembered."""

    vectors: Matrix
    counts: list[int]
    truncated: list[int]
    cached_tokens: int


class RememberingBatches:
    """Computes what the cache does not hold. A call whose texts are all remembered neither waits nor is refused."""

    def __init__(self, batches: Batches, cache: VectorCache, model: str) -> None:
        self._batches = batches
        self._cache = cache
        self._model = model

    async def embed(self, texts: Sequence[str], kind: EmbeddingKind, priority: EmbeddingPriority, ctx: Context) -> Computed:
        """Returns the texts' vectors, in order. Raises what computing the others raises; nothing of them is remembered then."""
        keys = [_key(ctx.tenant_id, self._model, kind, text) for text in texts]
        found = [self._cache.get(key) for key in keys]
        missing = [position for position, known in enumerate(found) if known is None]
        if missing:
            made = await self._batches.embed([texts[position] for position in missing], kind, priority, ctx)
            if len(missing) == len(texts):
                self._remember(keys, made)
                return made
            for position, known in zip(missing, self._remember([keys[position] for position in missing], made), strict=True):
                found[position] = known
        rows = [known for known in found if known is not None]
        new = set(missing)
        return Remembered(
            vectors=np.stack([np.frombuffer(known.vector, dtype=np.float32) for known in rows]),
            counts=[known.tokens for known in rows],
            truncated=[position for position, known in enumerate(rows) if known.truncated],
            cached_tokens=sum(known.tokens for position, known in enumerate(rows) if position not in new),
        )

    def _remember(self, keys: Sequence[bytes], made: Computed) -> list[Known]:
        cut = set(made.truncated)
        known = [
            Known(row.tobytes(), tokens, position in cut)
            for position, (row, tokens) in enumerate(zip(made.vectors, made.counts, strict=True))
        ]
        for key, one in zip(keys, known, strict=True):
            self._cache.put(key, one)
        return known


def _key(tenant: str, model: str, kind: EmbeddingKind, text: str) -> bytes:
    # No two owners have the same beginning: it ends where the repr does, at a zero byte, which a repr has none of.
    return hashlib.sha256(f"{(tenant, model, kind.value)!r}\0{text}".encode()).digest()


def _size(known: Known) -> int:
    return len(known.vector) + _ENTRY_BYTES
