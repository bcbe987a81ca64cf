"""The ledger: rows that wait while a write is under way go together in the next one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import UnavailableError
from common.store import Store, within
from common.tracking._outbox import Outbox
from common.tracking._share import Held, Share
from common.tracking._types import LedgerRow

log = logging.getLogger("malla.tracking")

_ROWS = 200
_ROW_BYTES = 1024

Document = dict[str, Any]


@dataclass(eq=False)
class Draft:
    """A row that is not written yet, and whether it is charged to a budget."""

    row: LedgerRow
    budgeted: bool


@dataclass(eq=False)
class _Commit:
    drafts: Sequence[Draft]
    written: Callable[[], None]
    rows: asyncio.Future[list[LedgerRow]]


class Ledger:
    """Writes rows, to the outbox while the database is away, and brings those home."""

    def __init__(
        self, store: Store, outbox: Outbox, share_of: Callable[[str, str], Share], *, timeout_s: float, max_bytes: int
    ) -> None:
        """`share_of` returns this server's share of the budget of a tenant and a token type."""
        self._store = store
        self._outbox = outbox
        self._share_of = share_of
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._waiting: list[_Commit] = []
        self._writer: asyncio.Task[None] | None = None
        self._away = False
        self.must_drain = asyncio.Event()

    def is_full(self, calls: int) -> bool:
        """Whether rows of so many calls in flight and of one more have no place while the database is away."""
        if not self._away and not self._outbox.size:
            return False
        return self._outbox.size + (calls + 1) * _ROW_BYTES > self._max_bytes

    def write(self, drafts: Sequence[Draft], written: Callable[[], None]) -> asyncio.Future[list[LedgerRow]]:
        """Writes rows and returns the first row of each key, later. `written` is called in the moment they are charged.

        The future fails with OSError where neither the database nor the disk takes them.
        """
        commit = _Commit(drafts, written, asyncio.get_running_loop().create_future())
        self._waiting.append(commit)
        if self._writer is None:
            # One: a second and a fourth beside it made no row arrive earlier.
            self._writer = asyncio.create_task(self._run(), name="ledger")
        return commit.rows

    async def _run(self) -> None:
        try:
            while self._waiting:
                commits = self._next()
                try:
                    rows = await self._put([draft for commit in commits for draft in commit.drafts], commits)
                except Exception as error:  # noqa: BLE001  # it is told to those who wait
                    for commit in commits:
                        commit.written()
                        if not commit.rows.done():
                            commit.rows.set_exception(error)
                else:
                    for commit in commits:
                        first, rows = rows[: len(commit.drafts)], rows[len(commit.drafts) :]
                        if not commit.rows.done():
                            commit.rows.set_result(first)
        finally:
            self._writer = None

    def _next(self) -> list[_Commit]:
        count = rows = 0
        for commit in self._waiting:
            if rows and rows + len(commit.drafts) > _ROWS:
                break
            rows, count = rows + len(commit.drafts), count + 1
        commits, self._waiting = self._waiting[:count], self._waiting[count:]
        return commits

    async def _put(self, drafts: Sequence[Draft], commits: Sequence[_Commit]) -> list[LedgerRow]:
        while True:
            if not self._away and not self._outbox.size:
                try:
                    return await self._insert(drafts, commits)
                except Exception as error:  # noqa: BLE001  # whatever it is, the rows must not be lost
                    self._tell(error)
                    self._away = True
            kept = await self._keep(drafts, commits, self._outbox.cleared)
            if kept is not None:
                return kept

    def _tell(self, error: Exception) -> None:
        if isinstance(error, UnavailableError):
            log.warning("the database is away: usage waits in %s", self._outbox.path)
        else:
            log.error("the database refused usage, which waits in %s", self._outbox.path, exc_info=error)

    async def _keep(self, drafts: Sequence[Draft], commits: Sequence[_Commit], cleared: int) -> list[LedgerRow] | None:
        """Puts rows into the outbox; None where it was emptied since. Budgets are charged when they come home."""
        try:
            rows = [{**_document(draft.row, ""), "budgeted": draft.budgeted} for draft in drafts]
            waiting = await self._outbox.append(rows, cleared)
            if waiting is None:
                return None
            firsts = [(await self._outbox.find(row["_id"]) if row["_id"] in waiting else None) for row in rows]
        finally:
            self.must_drain.set()
        for commit in commits:
            commit.written()
        return [draft.row if row is None else LedgerRow.model_validate(row) for draft, row in zip(drafts, firsts, strict=True)]

    async def _insert(self, drafts: Sequence[Draft], commits: Sequence[_Commit] = ()) -> list[LedgerRow]:
        """Puts rows into the database and charges the budgets. Raises UnavailableError, and what the driver raises."""
        held: list[tuple[Share, Held] | None] = []
        charged: dict[int, dict[str, int]] = {}
        in_doubt = True
        try:
            for draft in drafts:
                share = self._share_of(draft.row.tenant_id, draft.row.token_type) if draft.budgeted else None
                held.append((share, await share.begin_write(draft.row.created_at)) if share else None)
            documents = [_document(d.row, h[1].id if h else "") for d, h in zip(drafts, held, strict=True)]
            with within(self._timeout_s):
                taken = set(await self._store.all_tenants("usage").insert_missing(documents))
                firsts = await self._firsts([documents[place] for place in taken])
            for place, document in enumerate(documents):
                first = firsts.get(document["_id"], document) if place in taken else document
                # The driver may send a write twice: the second one finds its own row.
                if first["position"] == document["position"] and first["lease"] == document["lease"]:
                    charged[place] = {document["day"]: document["total_tokens"]}
            in_doubt = False
        finally:
            for place, pair in enumerate(held):
                if pair:
                    pair[0].end_write(pair[1], charged.get(place, {}), in_doubt=in_doubt)
            if not in_doubt:
                for commit in commits:
                    commit.written()
        return [LedgerRow.model_validate(firsts.get(document["_id"], document)) for document in documents]

    async def _firsts(self, documents: Sequence[Document]) -> dict[str, Document]:
        """Returns the rows that the keys of some documents have already."""
        found: dict[str, Document] = {}
        for tenant_id in {document["tenant_id"] for document in documents}:
            keys = [document["_id"] for document in documents if document["tenant_id"] == tenant_id]
            rows = self._store.rows(tenant_id, "usage").find({"_id": {"$in": keys}}, order=[("position", 1)])
            found |= {row["_id"]: row async for row in rows}
        return found

    # --------------------------------------------------------------------------------------------------------- bringing home

    async def drain(self) -> None:
        """Brings home what waits in this server's outbox. Raises UnavailableError, and what the driver raises."""
        try:
            await self.bring_home(self._outbox)
        except BaseException:
            self._away = True
            raise

    async def bring_home(self, outbox: Outbox) -> int:
        """Writes the rows of an outbox to the database and empties it. Returns how many there were."""
        offset = count = 0
        while True:
            while offset < outbox.size:
                rows, offset = await outbox.read(offset)
                await self._insert([Draft(LedgerRow.model_validate(row), row["budgeted"]) for row in rows])
                count += len(rows)
            if outbox is self._outbox:
                # Before it is emptied, so that whoever finds it emptied goes to the database, where the first rows are.
                self._away = False
            if await outbox.clear(offset):
                return count


def _key(row: LedgerRow) -> str:
    return f"{row.tenant_id}/{row.idempotency_key}"


def _document(row: LedgerRow, lease: str) -> Document:
    return {"_id": _key(row), **row.model_dump(), "lease": lease, "dims": dims_of(row)}


def dims_of(row: LedgerRow) -> str:
    """Returns all that rows are grouped by in one text, for the embedded database groups by one field only."""
    return json.dumps([row.day, row.model, row.token_type, row.operation, row.provider])


def dims_from(text: str) -> list[str]:
    """Returns the values of `dims_of`."""
    values: Iterable[Any] = json.loads(text)
    return [str(value) for value in values]
