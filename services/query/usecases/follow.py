"""Following change logs: the indexes are derived from the record and brought up to it before each search."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from common.context import Context
from common.errors import DeadlineError
from common.store import CollectionRecord
from common.tasks import stop
from services.query.domain.collection_index import CollectionIndex
from services.query.index_ports import Snapshots
from services.query.ports import MakeLexicalIndex, MakeVectorIndex, Record, Run
from services.query.usecases.replay import BrokenIndexError, OtherModelError, Replay

log = logging.getLogger("malla.query.follow")

_POLL_S = 0.05


@dataclass(eq=False)
class Followed:
    """A collection, and its index while that is in memory.

    Attributes:
        work: Opens the index or brings it up to the record; it goes on when the search that wanted it has given up.
        successor: Makes the index of another embedding model, while this one goes on answering as it is.
        used: The higher, the later it was searched.
        kept_seq: The change its snapshot holds; 0 without one.
        unkept: Passages that came since.
        unkept_since: When the first of them came, by the monotonic clock.
        kept_in_s: Seconds that its last snapshot took.
    """

    collection: CollectionRecord
    index: CollectionIndex | None = None
    work: asyncio.Task[None] | None = None
    successor: asyncio.Task[None] | None = None
    used: int = 0
    kept_seq: int = 0
    unkept: int = 0
    unkept_since: float = 0.0
    kept_in_s: float = 0.0

    @property
    def is_kept(self) -> bool:
        """Whether its snapshot holds all it has."""
        return self.index is None or self.index.seq == self.kept_seq


@dataclass
class FollowCollections:
    """Holds the indexes of the collections that are searched, for each tenant apart, the least recently used no longer.

    Attributes:
        timeout_s: Patience of a search without a deadline.
        snapshots: Where indexes are kept; None to make each anew from the record when it is needed.
        memory_bytes: Most that indexes may take together; 0 for no bound. The one a search needs is held, however large.
        run: Runs what no search waits for.
    """

    record: Record
    make_vector_index: MakeVectorIndex
    make_lexical_index: MakeLexicalIndex
    timeout_s: float = field(kw_only=True)
    snapshots: Snapshots | None = None
    memory_bytes: int = 0
    run: Run = asyncio.to_thread
    _followed: dict[tuple[str, str], Followed] = field(default_factory=dict, init=False)
    _uses: count[int] = field(default_factory=lambda: count(1), init=False)

    def __post_init__(self) -> None:
        self._replay = Replay(self.record)

    @property
    def resident(self) -> Sequence[Followed]:
        """The collections whose index is in memory, the least recently used first."""
        held = [followed for followed in self._followed.values() if followed.index is not None]
        return sorted(held, key=lambda followed: followed.used)

    @property
    def size_bytes(self) -> int:
        """About what the indexes take in memory."""
        return sum(followed.index.size_bytes for followed in self.resident if followed.index is not None)

    async def at_least(self, collection: CollectionRecord, min_seq: int, ctx: Context) -> CollectionIndex:
        """Returns the collection's index with all that is visible in it, and at least change `min_seq`.

        While the index of another embedding model is made, it is the old one, as it was when the collection changed to it.

        Raises DeadlineError when `min_seq` is not reached in time, and what reading the record raises.
        """
        wanted = max(min_seq, collection.seq)
        give_up = time.monotonic() + ctx.remaining_s(self.timeout_s)
        while True:
            followed = self._of(collection)
            followed.used = next(self._uses)
            if followed.index is not None and followed.index.seq >= wanted:
                return followed.index
            if followed.successor is not None and followed.index is not None:
                if followed.index.seq >= min_seq:
                    return followed.index
                await _patient(followed.successor, give_up, wanted, collection)
                continue
            joined = followed.work is not None
            await self._work_on(followed, give_up, wanted)
            behind = followed.index is None or followed.index.seq < wanted
            if behind and not joined:
                if time.monotonic() + _POLL_S > give_up:
                    raise _too_late(wanted, collection)
                await asyncio.sleep(_POLL_S)  # the change is another server's to make

    async def settled(self, collection: CollectionRecord) -> None:
        """Waits until no index of another embedding model is being made. Raises what making it raised."""
        successor = self._of(collection).successor
        if successor is not None:
            await asyncio.shield(successor)

    async def open(self, collection: CollectionRecord) -> None:
        """Brings a collection's index into memory, as if it was searched long ago."""
        followed = self._of(collection)
        if followed.index is None:
            await self._work_on(followed, float("inf"), 0)

    def forget(self, tenant_id: str, collection_id: str) -> None:
        """Frees the index of a collection that is gone."""
        gone = self._followed.pop((tenant_id, collection_id), None)
        if gone is not None and gone.successor is not None:
            gone.successor.cancel()

    async def discard(self, collection: CollectionRecord) -> None:
        """Removes a collection's index and snapshot, which its next search makes anew from the record."""
        self.forget(collection.tenant_id, collection.collection_id)
        if self.snapshots is not None:
            await asyncio.to_thread(self.snapshots.forget, collection.tenant_id, collection.uid)

    async def keep(self, followed: Followed) -> None:
        """Writes a snapshot of an index, where there is a place for it. A failure is logged: the record has it all."""
        if self.snapshots is None or followed.index is None or followed.is_kept:
            return
        unkept, followed.unkept = followed.unkept, 0
        began = time.monotonic()
        try:
            followed.kept_seq = await self.run(self.snapshots.save, followed.collection, followed.index)
        except OSError as error:
            followed.unkept, followed.unkept_since = followed.unkept + unkept, time.monotonic()
            log.warning(
                "The snapshot of an index could not be written; a restart will make it anew from the record",
                extra={"collection": followed.collection.collection_id, "why": str(error)},
            )
        followed.kept_in_s = time.monotonic() - began

    async def make_room(self, needed_bytes: int = 0, *, spare: Followed | None = None) -> None:
        """Lets go of the least recently used indexes until what remains and what is needed stay within the bound."""
        for followed in self.resident:
            if not self.memory_bytes or self.size_bytes + needed_bytes <= self.memory_bytes:
                return
            if followed is spare or followed.work is not None or followed.successor is not None:
                continue
            used = followed.used
            await self.keep(followed)
            if followed.used == used and followed.work is None:
                # A search that holds it ends with it.
                self.forget(followed.collection.tenant_id, followed.collection.collection_id)

    async def close(self) -> None:
        """Stops what is going on."""
        tasks = [task for followed in self._followed.values() for task in (followed.work, followed.successor)]
        await stop([task for task in tasks if task is not None])

    def _of(self, collection: CollectionRecord) -> Followed:
        key = (collection.tenant_id, collection.collection_id)
        known = self._followed.get(key)
        if known is None or known.collection.uid != collection.uid:
            known = self._followed[key] = Followed(collection)
        return known

    async def _work_on(self, followed: Followed, give_up: float, wanted: int) -> None:
        """Waits for what brings the index up to the record; the work goes on without whoever waits no longer."""
        if followed.work is None:
            step = self._open if followed.index is None else self._catch_up
            followed.work = asyncio.create_task(step(followed), name="follow")
            followed.work.add_done_callback(_ended(followed))
        await _patient(followed.work, give_up, wanted, followed.collection)

    async def _open(self, followed: Followed) -> None:
        index = await self._restored(followed)
        if index is not None:
            try:
                passages = await self._replay.fill(followed.collection, index)
            except OtherModelError:
                followed.index = index
                self._succeed(followed)
                return
        else:
            index, passages = await self._made(followed.collection)
        followed.index = index
        _note(followed, passages)
        await self.make_room(spare=followed)

    async def _made(self, collection: CollectionRecord) -> tuple[CollectionIndex, int]:
        """Returns an index made from the record, and how many passages it has."""
        while True:
            lexical = self.make_lexical_index(collection.language)
            index = CollectionIndex(collection.uid, lexical, self.make_vector_index)
            try:
                return index, await self._replay.fill(collection, index)
            except OtherModelError:
                continue  # it changed again meanwhile, and these vectors may be gone

    def _succeed(self, followed: Followed) -> None:
        """Begins to make the index of the collection's new embedding model, beside the one that answers."""
        log.info("the index of another embedding model is made", extra={"collection": followed.collection.collection_id})

        def note(task: asyncio.Task[None]) -> None:
            followed.successor = None
            if not task.cancelled() and task.exception() is not None:
                log.warning("the index of another embedding model was not made; trying again", exc_info=task.exception())

        followed.successor = asyncio.create_task(self._replace(followed), name="index of another model")
        followed.successor.add_done_callback(note)

    async def _replace(self, followed: Followed) -> None:
        index, passages = await self._made(followed.collection)
        # One assignment: a search holds the old index to its end, the next one gets the new.
        followed.index = index
        _note(followed, passages)
        await self.make_room(spare=followed)

    async def _restored(self, followed: Followed) -> CollectionIndex | None:
        if self.snapshots is None:
            return None
        await self.make_room(await asyncio.to_thread(self.snapshots.size_of, followed.collection))
        contents = await asyncio.to_thread(self.snapshots.load, followed.collection)
        if contents is None:
            return None
        if not await self._replay.is_of(followed.collection, contents.seq, contents.mark):
            log.warning(
                "A snapshot is of another log than the record's and is made anew",
                extra={"collection": followed.collection.collection_id, "seq": contents.seq},
            )
            await asyncio.to_thread(self.snapshots.forget, followed.collection.tenant_id, followed.collection.uid)
            return None
        followed.kept_seq = contents.seq
        return CollectionIndex.restored(followed.collection.uid, contents, self.make_vector_index)

    async def _catch_up(self, followed: Followed) -> None:
        if followed.index is None:
            return
        try:
            _note(followed, await self._replay.follow(followed.collection, followed.index))
        except OtherModelError:
            if followed.successor is None:
                self._succeed(followed)
        except BrokenIndexError:
            followed.index = None
            raise


async def _patient(task: asyncio.Task[None], give_up: float, wanted: int, collection: CollectionRecord) -> None:
    """Waits for a task, which goes on without whoever waits no longer, and raises what it raised."""
    patience = None if give_up == float("inf") else max(0.0, give_up - time.monotonic())
    done, _ = await asyncio.wait({task}, timeout=patience)
    if not done:
        raise _too_late(wanted, collection)
    task.result()


def _note(followed: Followed, passages: int) -> None:
    if not followed.is_kept:
        followed.unkept_since = followed.unkept_since if followed.unkept else time.monotonic()
        followed.unkept += max(1, passages)


def _ended(followed: Followed) -> Callable[[asyncio.Task[Any]], None]:
    def note(task: asyncio.Task[Any]) -> None:
        followed.work = None
        if not task.cancelled() and task.exception() is not None:
            log.debug("an index could not be brought up to the record", exc_info=task.exception())

    return note


def _too_late(wanted: int, collection: CollectionRecord) -> DeadlineError:
    return DeadlineError(f"change {wanted} of collection '{collection.collection_id}'")
