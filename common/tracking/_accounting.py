"""Accounting as the servers use it: reserve, commit, release, read."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from common import tasks
from common.context import Context
from common.errors import MallaError
from common.store import Store, now_ms
from common.tiers import TierSettings
from common.tracking._budget import Limits, period_of
from common.tracking._budget_rows import BudgetRows
from common.tracking._errors import LedgerFullError
from common.tracking._ledger import Draft, Ledger
from common.tracking._observing import observe_accounting, refusals_counted
from common.tracking._outbox import Outbox
from common.tracking._prices import PriceList
from common.tracking._reading import Reading
from common.tracking._settings import TrackingSettings
from common.tracking._share import LeaseRules, Share
from common.tracking._storable import plain, storable
from common.tracking._track import use_accounting
from common.tracking._types import (
    DAY,
    MONTH,
    OPERATIONS,
    TOKEN_TYPES,
    BudgetStatus,
    LedgerRow,
    RecordPage,
    Reservation,
    UsageEntry,
    UsageReport,
)

log = logging.getLogger("malla.tracking")

_TICK_S = 1.0
_RETRY_S = (0.2, 2.0)
_ADOPT_S = 10.0
_CLOSE_S = 5.0


class Accounting:
    """The ledger and the budgets of every tenant. The tenant and the tier come from the call context."""

    def __init__(self, settings: TrackingSettings, store: Store, tiers: TierSettings, outbox: Outbox) -> None:
        self._settings = settings
        self._tiers = tiers
        self._outbox = outbox
        self._prices = PriceList(settings.prices)
        self._budgets = BudgetRows(store, settings.ledger_timeout_s)
        self._ledger = Ledger(
            store, outbox, self._share, timeout_s=settings.ledger_timeout_s, max_bytes=settings.outbox_max_bytes
        )
        # A write that was begun before a lease ended has ended itself when the lease may be settled by another server.
        self._rules = LeaseRules(int(settings.budget_lease_s * 1000), int(settings.ledger_timeout_s * 2000))
        self._reading = Reading(store, self._budgets, self._rules.grace_ms)
        self._shares: dict[tuple[str, str], Share] = {}
        self._commits: set[asyncio.Future[Any]] = set()
        self._calls = 0

    async def reserve(self, ctx: Context, *, key: str, token_type: str, tokens: int) -> Reservation:
        """Keeps tokens of the tenant's budgets for a call that will take at most about so many.

        Raises BudgetExceededError where a budget has less left, LedgerFullError where usage could not be kept, and
        UnavailableError where a budget must be asked and the database is away. Without a budget no database is asked.
        """
        if self._ledger.is_full(self._calls):
            raise LedgerFullError
        limits = self._limits(ctx, token_type)
        tokens = max(1, tokens)
        if limits:
            with refusals_counted():
                await self._share(ctx.tenant_id, token_type).reserve(tokens, limits)
        self._calls += 1
        return Reservation(ctx.tenant_id, key, token_type, tokens, budgeted=bool(limits))

    async def commit(
        self, reservation: Reservation | Sequence[Reservation] | None, entries: Iterable[UsageEntry], ctx: Context
    ) -> list[LedgerRow]:
        """Writes a row per entry, charges the budgets what was really used and gives back the rest of the reservations.

        The rows are durable, in the database or in the outbox, when it returns. A key that was used before adds nothing,
        charges nothing and answers with its first row; while the database is away, with the first one since. A caller that is
        cancelled is told so after the rows are durable.

        Raises ValueError for no tenant, an unknown token type or operation, or what cannot be stored: nothing is written then,
        and the reservations are given back. Raises OSError where neither the database nor the disk takes the rows.
        """
        reservations = [reservation] if isinstance(reservation, Reservation) else list(reservation or ())
        try:
            drafts = [self._draft(entry, ctx) for entry in entries]
        except ValueError:
            self._end(reservations)
            raise
        if not drafts:
            self._end(reservations)
            return []
        rows = self._ledger.write(drafts, lambda: self._end(reservations))
        self._commits.add(rows)
        rows.add_done_callback(self._commits.discard)
        return await tasks.finished(rows)

    async def release(self, reservation: Reservation | None) -> None:
        """Gives back a reservation whose call consumed nothing. Never waits, so it is safe where a call is being cancelled."""
        if reservation is not None:
            self._end([reservation])

    async def totals(
        self, ctx: Context, *, since: int = 0, until: int | None = None, group_by: Sequence[str] = ()
    ) -> UsageReport:
        """Sums the tenant's rows from `since` until before `until` (milliseconds since the epoch; None for now).

        `group_by` is any of GROUPS. Raises ValueError for another one, UnavailableError where the database is away.
        """
        return await self._reading.totals(ctx.tenant_id, since, until, group_by)

    async def records(
        self,
        ctx: Context,
        *,
        since: int = 0,
        until: int | None = None,
        session_id: str = "",
        model: str = "",
        token_type: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> RecordPage:
        """Returns a page of the tenant's rows, the newest first; empty filters match everything.

        Raises InvalidArgumentError for a foreign page token, UnavailableError where the database is away.
        """
        wanted = {"session_id": session_id, "model": model, "token_type": token_type}
        match = {name: value for name, value in wanted.items() if value}
        return await self._reading.records(ctx.tenant_id, since, until, match, page_size, page_token)

    async def budgets(self, ctx: Context) -> list[BudgetStatus]:
        """Returns the tenant's budgets, by token type and period, those without a limit included.

        Raises UnavailableError where the database is away.
        """
        return [
            status
            for token_type in TOKEN_TYPES
            for status in await self._reading.budget(ctx.tenant_id, token_type, self._limits(ctx, token_type))
        ]

    # ------------------------------------------------------------------------------------------------------------- the parts

    def _limits(self, ctx: Context, token_type: str) -> Limits:
        tier = self._tiers.of(ctx.tier)
        return Limits(tier.budget(token_type, DAY), tier.budget(token_type, MONTH))

    def _share(self, tenant_id: str, token_type: str) -> Share:
        share = self._shares.get((tenant_id, token_type))
        if share is None:
            share = self._shares[tenant_id, token_type] = Share(self._budgets, tenant_id, token_type, self._rules)
        return share

    def _draft(self, entry: UsageEntry, ctx: Context) -> Draft:
        if not ctx.tenant_id or not entry.idempotency_key:
            raise ValueError("usage needs a tenant and an idempotency key")
        if entry.token_type not in TOKEN_TYPES or entry.operation not in OPERATIONS:
            raise ValueError(f"unknown token type '{entry.token_type}' or operation '{entry.operation}'")
        now = now_ms()
        row = LedgerRow(
            tenant_id=ctx.tenant_id,
            idempotency_key=entry.idempotency_key,
            token_type=entry.token_type,
            operation=entry.operation,
            stage=entry.stage,
            provider=entry.provider,
            model=entry.model,
            input_tokens=entry.input_tokens,
            output_tokens=entry.output_tokens,
            cached_tokens=entry.cached_tokens,
            total_tokens=entry.total_tokens or entry.input_tokens + entry.output_tokens,
            estimated=entry.estimated,
            cost_nano_usd=self._prices.cost_nano_usd(entry),
            session_id=entry.session_id or ctx.session_id,
            agent_id=entry.agent_id,
            request_id=entry.request_id or ctx.request_id,
            metadata=plain(entry.metadata),
            created_at=now,
            day=period_of(now, DAY),
            position=f"{now:013d}-{uuid.uuid4().hex[:12]}",
        )
        return Draft(storable(row), budgeted=bool(self._limits(ctx, entry.token_type)))

    def _end(self, reservations: Iterable[Reservation]) -> None:
        for reservation in reservations:
            if reservation.open:
                reservation.open = False
                self._calls -= 1
                if reservation.budgeted:
                    self._share(reservation.tenant_id, reservation.token_type).give_back(reservation.tokens)

    # ------------------------------------------------------------------------------------------------------ in the background

    async def _keep_house(self) -> None:
        """Renews and gives back leases; forgets shares that hold nothing."""
        while True:
            await asyncio.sleep(min(_TICK_S, self._settings.budget_lease_s / 6))
            for key, share in list(self._shares.items()):
                share.tick()
                if share.idle:
                    del self._shares[key]

    async def _drain(self) -> None:
        """Brings home what waits in this server's outbox as soon as the database is back."""
        while True:
            await self._ledger.must_drain.wait()
            self._ledger.must_drain.clear()
            await _until_done(self._ledger.drain)
            log.info("the outbox is empty again")

    async def _adopt(self) -> None:
        """Brings home what dead servers left."""
        folder = self._settings.outbox_dir.expanduser()
        while True:
            found: list[Outbox] = []
            try:
                # To its end also where it is cancelled: a file that nobody closes stays locked as long as the process lives.
                await tasks.finished(asyncio.to_thread(_adopt_into, found, folder))
                while found:
                    count = await _until_done(lambda outbox=found[0]: self._ledger.bring_home(outbox))
                    log.info("%d rows of usage from %s are in the ledger now", count, found[0].path.name)
                    found.pop(0).close()
            finally:
                for outbox in found:
                    outbox.close()
            await asyncio.sleep(min(_ADOPT_S, self._settings.budget_lease_s))

    async def _close(self) -> None:
        """Lets commits end and gives back what is held, as far as the database is there."""
        while self._commits:
            await asyncio.wait(self._commits)
        settling = [asyncio.create_task(share.settle()) for share in self._shares.values()]
        if settling:
            _, late = await asyncio.wait(settling, timeout=_CLOSE_S)
            if late:
                log.warning("%d budgets were not given back in time: their leases end by themselves", len(late))
            await tasks.stop(late)


def _adopt_into(found: list[Outbox], folder: Path) -> None:
    found += Outbox.adopt(folder)


async def _until_done(work: Any) -> Any:
    """Does something until it works, waiting longer after each failure."""
    wait_s = _RETRY_S[0]
    while True:
        try:
            return await work()
        except MallaError:
            log.debug("the database is still away")
        except Exception:
            log.exception("usage that waits cannot be brought home")
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _RETRY_S[1])


@asynccontextmanager
async def open_accounting(
    settings: TrackingSettings, store: Store, *, server: str, tiers: TierSettings | None = None
) -> AsyncIterator[Accounting]:
    """Opens the ledger, adopts what dead servers left in their outboxes, and makes it the one `track_token_usage` writes to.

    On exit what was committed is durable and what this server held of the budgets is given back. `tiers` are read from the
    environment where left out. Raises OSError where the outbox cannot be opened.
    """
    folder, opened = settings.outbox_dir.expanduser(), list[Outbox]()
    try:
        await tasks.finished(asyncio.to_thread(lambda: opened.append(Outbox.create(folder, server))))
        outbox = opened[0]
        accounting = Accounting(settings, store, tiers or TierSettings(), outbox)
        observe_accounting(lambda: outbox.size, lambda: accounting._calls)
        work = (accounting._keep_house(), accounting._drain(), accounting._adopt())
        background = [asyncio.create_task(each, name="accounting") for each in work]
        try:
            with use_accounting(accounting):
                yield accounting
        finally:
            await tasks.stop(background)
            await accounting._close()
    finally:
        for outbox in opened:
            outbox.close()
