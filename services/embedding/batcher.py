"""Runs the engine over the lanes: threads compute, callers wait for their rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from common.context import Context
from common.errors import DeadlineError
from common.models import EmbeddingKind, EmbeddingPriority
from services.embedding.lanes import Item, Lanes
from services.embedding.observing import Seen, computed, dropped, seen, taken
from services.embedding.ports import Engine, Matrix
from services.embedding.slots import Slot, slots_of

BULK_S = 0.06
"""Seconds a batch with bulk texts may take, if it holds more than one: so long may a question wait for it."""

_LONGEST_WAIT_S = 300.0
# A question is counted in less time than a thread takes to wake up.
_COUNTED_AT_ONCE_CHARACTERS = 500


@dataclass(eq=False)
class Call:
    """One caller's texts on their way."""

    rows: Matrix
    deadline: float
    done: asyncio.Future[None]
    missing: int
    priority: EmbeddingPriority = EmbeddingPriority.INTERACTIVE
    seen: Seen | None = None

    def is_wanted(self) -> bool:
        """Whether the caller still waits, and in time."""
        return not self.done.done() and time.monotonic() < self.deadline


@dataclass(frozen=True)
class Embedded:
    """The rows of one call and what they cost."""

    vectors: Matrix
    counts: list[int]
    truncated: list[int] = field(default_factory=list)
    cached_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens the model read."""
        return sum(self.counts)


class Batcher:
    """Embeds texts of many callers in shared batches.

    Interactive texts come first without starving bulk ones; texts of callers that left, or whose deadline has passed, are never
    computed; a full queue refuses.
    """

    def __init__(self, engine: Engine, lanes: Lanes[Call], *, bulk_s: float = BULK_S) -> None:
        """`bulk_s`: Seconds a batch with bulk texts may take, if it holds more than one."""
        self._engine = engine
        self._lanes = lanes
        self._bulk_s = bulk_s
        self._slots = slots_of(engine.at_once)
        self._counting = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    async def embed(self, texts: Sequence[str], kind: EmbeddingKind, priority: EmbeddingPriority, ctx: Context) -> Embedded:
        """Returns the texts' vectors, in order.

        Raises:
            OverloadedError: The queue is full; nothing was computed.
            DeadlineError: The caller's deadline passed first.
        """
        loop = asyncio.get_running_loop()
        if sum(map(len, texts)) <= _COUNTED_AT_ONCE_CHARACTERS:
            counts = self._engine.count_tokens(texts, kind)
        else:
            counts = await loop.run_in_executor(self._counting, self._engine.count_tokens, texts, kind)
        window = self._engine.window_tokens
        read = [min(count, window) if window else count for count in counts]
        wait_s = ctx.remaining_s(_LONGEST_WAIT_S)
        call = Call(
            rows=np.empty((len(texts), self._engine.dimensions), dtype=np.float32),
            deadline=time.monotonic() + wait_s,
            done=loop.create_future(),
            missing=len(texts),
            priority=priority,
            seen=seen(priority, len(texts), sum(read)),
        )
        items = [Item(call, i, text, read[i], kind) for i, text in enumerate(texts)]
        takers = [slot for slot in self._slots if slot.takes(priority)]
        self._lanes.put(items, priority, tokens_per_s=sum(slot.pace.tokens_per_s for slot in takers))
        for slot in takers:
            slot.arrived.set()
        await self._finished(call, wait_s)
        return Embedded(call.rows, read, [i for i, count in enumerate(counts) if window and count > window])

    async def _finished(self, call: Call, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await call.done
        except TimeoutError as error:
            raise DeadlineError("embeddings") from error
        finally:
            call.done.cancel()  # tells the lanes that nobody waits any more; no effect on a finished call

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Computes while the block runs."""
        tasks = [asyncio.create_task(self._run(slot), name="embedding-batches") for slot in self._slots]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for slot in self._slots:
                slot.threads.shutdown()
            self._counting.shutdown()

    async def _run(self, slot: Slot) -> None:
        while True:
            most = slot.most_tokens(self._bulk_s)
            batch = self._lanes.draw(Call.is_wanted, dropped, of=slot.of, among=slot.beside, most_tokens=most)
            if batch:
                taken(batch)
                await self._compute(batch, slot)
            else:
                slot.arrived.clear()
                await slot.arrived.wait()

    async def _compute(self, batch: list[Item[Call]], slot: Slot) -> None:
        loop = asyncio.get_running_loop()
        started, began_ns = time.perf_counter(), time.time_ns()
        texts = [item.text for item in batch]
        try:
            rows = await loop.run_in_executor(slot.threads, slot.compute, self._engine, texts, batch[0].kind)
            for item, row in zip(batch, rows, strict=True):
                _deliver(item, row)
        except Exception as error:  # noqa: BLE001  # whatever the engine raises belongs to the callers of this batch
            for item in batch:
                if not item.owner.done.done():
                    item.owner.done.set_exception(error)
            return
        finally:
            computed(batch, began_ns)
        took_s = time.perf_counter() - started
        slot.saw(sum(item.tokens for item in batch), took_s, (item.owner.priority for item in batch))


def _deliver(item: Item[Call], row: Matrix) -> None:
    call = item.owner
    call.rows[item.position] = row
    call.missing -= 1
    if call.missing == 0 and not call.done.done():
        call.done.set_result(None)
