"""Keeping indexes: on disk, in the right shape, within memory, and no longer than their collections."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from common.errors import MallaError
from common.store import CollectionRecord
from services.query.index_ports import Kept, Snapshots
from services.query.ports import Record
from services.query.usecases.follow import FollowCollections, Followed

log = logging.getLogger("malla.query.keep")

# A snapshot waits so many times as long as the last one took, so that a large collection that changes all day does not keep
# the disk busy all day.
_APART = 10


@dataclass(frozen=True)
class KeepRules:
    """When what is done.

    Attributes:
        passages: Unkept passages after which a snapshot is due, or a tenth of the collection where that is more.
        age_s: Seconds an unkept change may wait.
        round_s: Seconds between looks.
        sweep_s: Seconds between searches for snapshots whose collection is gone.
        drain_s: Seconds that snapshots may take at the end.
    """

    passages: int = 5000
    age_s: float = 60.0
    round_s: float = 1.0
    sweep_s: float = 600.0
    drain_s: float = 5.0


@dataclass
class KeepIndexes:
    """Looks after the indexes in the background."""

    record: Record
    follow: FollowCollections
    snapshots: Snapshots | None
    rules: KeepRules = field(default_factory=KeepRules)

    async def run(self) -> None:
        """Warms up, then goes round until it is cancelled. A failure is logged and tried again the next round."""
        swept = float("-inf")
        while True:
            try:
                if time.monotonic() - swept >= self.rules.sweep_s:
                    first, swept = swept == float("-inf"), time.monotonic()
                    await self.sweep(warm=first)
                await self.round()
            except MallaError as error:
                log.warning("The indexes could not be looked after; trying again", extra={"why": error.message})
            except Exception:
                log.exception("The indexes could not be looked after; trying again")
            await asyncio.sleep(self.rules.round_s)

    async def round(self) -> None:
        """Does what is due."""
        for followed in self.follow.resident:
            if followed.index is not None and followed.index.outgrown:
                await self.follow.run(followed.index.fit)
            if self._is_due(followed):
                await self.follow.keep(followed)
        await self.follow.make_room()

    async def sweep(self, *, warm: bool = False) -> None:
        """Removes the snapshots of collections that are gone; `warm` opens the others, while there is room."""
        for kept in [] if self.snapshots is None else await asyncio.to_thread(self.snapshots.kept):
            collection = await self._collection(kept)
            if collection is None:
                await self._remove(kept)
            elif warm and self._fits(kept):
                await self.follow.open(collection)
        for followed in self.follow.resident:
            here = followed.collection
            if await self._collection(Kept(here.tenant_id, here.collection_id, here.uid, 0, 0)) is None:
                self.follow.forget(here.tenant_id, here.collection_id)

    async def drain(self) -> None:
        """Keeps what is not kept, the last used first, while there is time. What is not will be replayed."""
        try:
            async with asyncio.timeout(self.rules.drain_s):
                for followed in reversed(self.follow.resident):
                    await self.follow.keep(followed)
        except TimeoutError:
            log.warning("Not every index was written to disk; the next start replays their changes")

    async def _collection(self, kept: Kept) -> CollectionRecord | None:
        collection = await self.record.collection(kept.tenant_id, kept.collection_id)
        return collection if collection is not None and collection.uid == kept.uid else None

    async def _remove(self, kept: Kept) -> None:
        if self.snapshots is not None:
            await asyncio.to_thread(self.snapshots.forget, kept.tenant_id, kept.uid)

    def _fits(self, kept: Kept) -> bool:
        bound = self.follow.memory_bytes
        return not bound or self.follow.size_bytes + kept.size_bytes <= bound

    def _is_due(self, followed: Followed) -> bool:
        if followed.index is None or followed.is_kept:
            return False
        many = max(self.rules.passages, len(followed.index) // 10)
        age_s = time.monotonic() - followed.unkept_since
        if age_s < _APART * followed.kept_in_s:
            return False
        return followed.unkept >= many or age_s >= self.rules.age_s
