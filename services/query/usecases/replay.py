"""Reading change logs into indexes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from common.store import ChangeRecord, CollectionRecord
from services.query.domain.collection_index import CollectionIndex, DocumentUpdate
from services.query.ports import Record

# Passages that are read in one trip, or documents where they are short, and passages that go into a new index in one step.
_PASSAGES_A_TRIP, _DOCUMENTS_A_TRIP = 2048, 512
_PASSAGES_A_STEP = 8192


class BrokenIndexError(Exception):
    """An index failed in the middle of a change and is of no use any more."""


class OtherModelError(Exception):
    """The collection changed to another embedding model, which needs an index of its own."""


@dataclass
class Replay:
    """Brings indexes up to the record. Every method that reads a log raises OtherModelError where it changes the model."""

    record: Record

    async def follow(self, collection: CollectionRecord, index: CollectionIndex) -> int:
        """Applies what the log holds beyond the index, in one step for any search; returns how many passages came.

        Raises BrokenIndexError, OtherModelError, and what reading the record raises.
        """
        updates: dict[str, DocumentUpdate] = {}
        last = await self._gather(collection, index, updates)
        if last is not None:
            await _change(index.update, list(updates.values()), last.seq, mark_of(last))
        return sum(len(update.chunks) for update in updates.values())

    async def fill(self, collection: CollectionRecord, index: CollectionIndex) -> int:
        """Does the same for an index that no search sees yet: in many steps, so that no more than one is held in memory."""
        updates: dict[str, DocumentUpdate] = {}
        passages, last = 0, None
        async for change, read in self._read(collection, index):
            last = change
            updates |= {update.document_id: update for update in read}
            waiting = sum(len(update.chunks) for update in updates.values())
            if waiting >= _PASSAGES_A_STEP:
                await _change(index.fill, list(updates.values()))
                passages, updates = passages + waiting, {}
        if last is not None:
            await _change(index.update, list(updates.values()), last.seq, mark_of(last))
        return passages + sum(len(update.chunks) for update in updates.values())

    async def is_of(self, collection: CollectionRecord, seq: int, mark: str) -> bool:
        """Returns whether the log has this change: it has not when the record is an older or another one."""
        change = await self.record.change(collection.tenant_id, collection.uid, seq)
        return change is not None and mark_of(change) == mark

    async def _gather(
        self, collection: CollectionRecord, index: CollectionIndex, updates: dict[str, DocumentUpdate]
    ) -> ChangeRecord | None:
        last = None
        async for change, read in self._read(collection, index):
            last = change
            updates |= {update.document_id: update for update in read}
        return last

    async def _read(
        self, collection: CollectionRecord, index: CollectionIndex
    ) -> AsyncIterator[tuple[ChangeRecord, Sequence[DocumentUpdate]]]:
        """Yields the last change of the log so far, and what some documents became by it, until nothing is new."""
        seq = index.seq
        while changes := await self.record.changes_after(collection.tenant_id, collection.uid, seq):
            if not seq:
                index.model = changes[-1].model  # whatever was before, its vectors may be gone
            elif changes[-1].model != index.model:
                raise OtherModelError
            last_of_each = {change.document_id: change for change in changes if not change.switches}
            # By name, so that what a trip wants lies together in the record.
            for some in trips(last_of_each[name] for name in sorted(last_of_each)):
                yield changes[-1], await self._updates(collection, some, index.model)
            seq = changes[-1].seq

    async def _updates(
        self, collection: CollectionRecord, changes: Sequence[ChangeRecord], model: str
    ) -> Sequence[DocumentUpdate]:
        there = {change.document_id: change for change in changes if not change.deleted}
        gone = [DocumentUpdate(change.document_id, ()) for change in changes if change.deleted]
        versions = {name: change.version for name, change in there.items()}
        chunks = await self.record.chunks_of(collection.tenant_id, collection.uid, versions, model) if versions else {}
        # Where some are missing they are being removed: a later change has replaced this version, and the next round reads it.
        return gone + [
            DocumentUpdate(name, chunks.get(name, ()))
            for name, change in there.items()
            if len(chunks.get(name, ())) == change.chunks
        ]


def trips(changes: Iterable[ChangeRecord]) -> Iterator[Sequence[ChangeRecord]]:
    """Cuts changes into what is read in one trip; one trip for nothing where there are none."""
    some: list[ChangeRecord] = []
    passages, any_read = 0, False
    for change in changes:
        some.append(change)
        passages += change.chunks
        if passages >= _PASSAGES_A_TRIP or len(some) == _DOCUMENTS_A_TRIP:
            yield some
            some, passages, any_read = [], 0, True
    if some or not any_read:
        yield some


def mark_of(change: ChangeRecord) -> str:
    """Returns what tells a change from another one that has its number in another log."""
    return f"{change.document_id} {change.version} {change.chunks} {change.deleted} {change.job_id}"


async def _change(*call: object) -> None:
    function, *arguments = call
    try:
        await asyncio.to_thread(function, *arguments)  # type: ignore[arg-type]
    except Exception as error:
        raise BrokenIndexError from error
