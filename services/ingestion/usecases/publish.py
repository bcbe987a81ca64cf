"""Making a version visible: one atomic insert into the collection's change log."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from common.store import ChangeRecord
from services.ingestion.domain.errors import ModelChangedError
from services.ingestion.ports import Blobs, Changes, Chunks, Jobs

_HEADS_KEPT = 1000
_CHANGES_KEPT = 100


@dataclass
class _Head:
    """The end of a log, as this process knows it: one at a time appends here, for two would only take the same number.

    Attributes:
        after: All changes with higher numbers, up to `change`, are in `latest`.
        latest: The last of them of each document.
    """

    change: ChangeRecord | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    after: int = 0
    latest: OrderedDict[str, ChangeRecord] = field(default_factory=OrderedDict)

    def begin(self, seq: int) -> None:
        """Forgets what it knows: others have appended up to `seq`."""
        self.after = seq
        self.latest.clear()

    def note(self, change: ChangeRecord) -> None:
        """Takes in the change that was appended after the last one noted."""
        self.latest[change.document_id] = change
        self.latest.move_to_end(change.document_id)
        if len(self.latest) > _CHANGES_KEPT:
            _, oldest = self.latest.popitem(last=False)
            self.after = oldest.seq


class Publish:
    """Appends to a collection's change log. The log alone decides what is visible."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._heads: OrderedDict[tuple[str, str], _Head] = OrderedDict()

    async def __call__(self, tenant_id: str, collection_uid: str, change: ChangeRecord, *, since: int = -1) -> ChangeRecord:
        """Appends `change` under the next number and returns it as numbered.

        A change that is already there, or one that a later version of its document has overtaken, is not appended; the change
        that stands is returned instead. So a repeated call, or one that lost a race, does no harm.

        No change up to `since` is of this version of the document or of a later one; -1 where nobody knows.

        Raises ModelChangedError where the vectors of its chunks are not of the collection's model (any more).
        """
        known = self._head(tenant_id, collection_uid)
        async with known.turn:
            # One that was known from before may not be the head any more: then its number is taken, and we look again.
            head, known.change = known.change, None
            while True:
                # The head must be known first: whatever is appended after it takes the number we try.
                is_fresh = head is None
                if head is None:
                    head = await self._changes.last(tenant_id, collection_uid)
                    known.begin(head.seq if head else 0)
                # What was appended here is known; where another process appends beside us, the number we try is taken.
                if 0 <= known.after <= since:
                    last = known.latest.get(change.document_id)
                else:
                    last = await self._changes.last_of(tenant_id, collection_uid, change.document_id)
                if last is not None and last.version >= change.version:
                    known.change = head
                    return last
                model = "" if head is None else head.model
                if model and change.chunks and change.model != model:
                    if is_fresh:
                        raise ModelChangedError(model)
                    head = None
                    continue
                numbered = change.model_copy(update={"seq": (head.seq if head else 0) + 1, "model": model or change.model})
                if await self._changes.append(tenant_id, collection_uid, numbered):
                    known.change = numbered
                    known.note(numbered)
                    return numbered
                head = None

    def _head(self, tenant_id: str, collection_uid: str) -> _Head:
        key = (tenant_id, collection_uid)
        known = self._heads.setdefault(key, _Head())
        self._heads.move_to_end(key)
        if len(self._heads) > _HEADS_KEPT:
            self._heads.popitem(last=False)
        return known


class Retire:
    """Removes what no search can reach any more: chunks and bytes of versions that a later change replaced."""

    def __init__(self, chunks: Chunks, jobs: Jobs, blobs: Blobs) -> None:
        self._chunks = chunks
        self._jobs = jobs
        self._blobs = blobs

    async def __call__(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> None:
        """Removes the versions of a document before `version`."""
        if version <= 1:
            return
        await self._chunks.delete_before(tenant_id, collection_uid, document_id, version)
        for blob_id in await self._jobs.forget_blobs_before(tenant_id, collection_uid, document_id, version):
            await self._blobs.delete(tenant_id, blob_id)
