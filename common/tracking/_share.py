"""This server's share of one budget: grants calls from what it holds, and asks the record when that is not enough.

Everything that asks the record does so through one runner, which serves all who wait with one compare-and-set; a caller that
is cancelled never leaves it half done.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from common.store import now_ms
from common.tracking._budget import BudgetState, Lease, Limits, resets_at_ms
from common.tracking._budget_rows import BudgetRows
from common.tracking._errors import BudgetExceededError

_ROTATIONS = 3
# How much older than their lease rows may be without asking for another lease.
_SLACK_MS = 60_000


@dataclass(frozen=True)
class LeaseRules:
    """How long a lease lives, and how long after its end another server may settle it: longer than a write can be under way."""

    lease_ms: int
    grace_ms: int


@dataclass(eq=False)
class Held:
    """A lease of this server.

    Attributes:
        tokens: What the record says it holds.
        used: What was charged to it, by day.
        writing: Rows that are on their way to the ledger under it.
        in_doubt: A write under it may or may not have arrived. Only the ledger can tell, so it is left to lapse.
    """

    lease: Lease
    tokens: int
    used: Counter[str] = field(default_factory=Counter)
    writing: int = 0
    in_doubt: bool = False

    @property
    def id(self) -> str:
        """The lease's identifier, which its rows carry."""
        return self.lease.id


@dataclass(eq=False)
class _Ask:
    tokens: int
    limits: Limits | None
    """None for a row that must be written whatever the limits say."""
    answer: asyncio.Future[None]
    since: int


class Share:
    """Of one tenant's tokens of one type."""

    def __init__(
        self, rows: BudgetRows, tenant_id: str, token_type: str, rules: LeaseRules, clock: Callable[[], int] = now_ms
    ) -> None:
        self._rows = rows
        self._tenant_id = tenant_id
        self._token_type = token_type
        self._rules = rules
        self._clock = clock
        self._state: BudgetState | None = None
        self._current: Held | None = None
        self._closing: list[Held] = []
        self._open = 0
        self._exact = True
        self._touched = False
        self._asks: list[_Ask] = []
        self._stale = False
        self._runner: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether it holds nothing and nobody waits."""
        return not (self._held or self._open or self._asks or self._runner)

    async def reserve(self, tokens: int, limits: Limits) -> None:
        """Keeps tokens for a call. Raises BudgetExceededError, and UnavailableError when the record is away."""
        self._touched = True
        if self._valid is not None and self._runner is None and self._room >= tokens:
            self._open += tokens
        else:
            await self._ask(tokens, limits, self._clock())

    def give_back(self, tokens: int) -> None:
        """Ends a reservation."""
        self._open -= tokens
        self._touched = True
        if self._exact and self._current is not None and (self._open == 0 or self._room > 0):
            # Near the end of the budget other servers wait for what is left over.
            self._wake()

    async def begin_write(self, created_at: int) -> Held:
        """Returns the lease that a row is written under; `end_write` must follow. Raises UnavailableError.

        The row is not older than what the ledger is searched for when the lease has to be settled by somebody else.
        """
        self._touched = True
        while (held := self._valid) is None or held.lease.since > created_at:
            await self._ask(0, None, created_at)
        held.writing += 1
        return held

    def end_write(self, held: Held, charged: dict[str, int], *, in_doubt: bool = False) -> None:
        """Notes what was charged by day. `in_doubt` where nobody knows whether the rows arrived."""
        held.writing -= 1
        held.used.update(charged)
        if in_doubt:
            held.in_doubt = True
            if held is self._current:
                self._current = None
            elif held in self._closing:
                self._closing.remove(held)

    def tick(self) -> None:
        """Gives back what was not touched since the last tick, and renews what is old."""
        left = self._current.lease.until - self._clock() if self._current else self._rules.lease_ms
        old = left * _ROTATIONS < self._rules.lease_ms * (_ROTATIONS - 1)
        if old or (self._held and not self._touched and not self._open):
            self._wake()
        self._touched = False

    async def settle(self) -> None:
        """Settles what can be settled: this server's leases that nothing is written under, and those of dead servers."""
        self._wake()
        while (runner := self._runner) is not None:
            await asyncio.wait([runner])

    # ---------------------------------------------------------------------------------------------------------- what is held

    @property
    def _held(self) -> list[Held]:
        return [*self._closing, *([self._current] if self._current else [])]

    @property
    def _valid(self) -> Held | None:
        return self._current if self._current and self._clock() < self._current.lease.until else None

    @property
    def _room(self) -> int:
        return sum(held.tokens - held.used.total() for held in self._held) - self._open

    # ------------------------------------------------------------------------------------------------------------- the runner

    async def _ask(self, tokens: int, limits: Limits | None, since: int) -> None:
        ask = _Ask(tokens, limits, asyncio.get_running_loop().create_future(), since)
        self._asks.append(ask)
        self._wake()
        try:
            await ask.answer
        except asyncio.CancelledError:
            if ask.answer.done() and not ask.answer.cancelled() and ask.answer.exception() is None:
                self.give_back(tokens)
            raise

    def _wake(self) -> None:
        self._stale = True
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name=f"budget-{self._token_type}")

    async def _run(self) -> None:
        try:
            while self._asks or self._stale:
                self._stale = False
                asks, self._asks = [ask for ask in self._asks if not ask.answer.done()], []
                try:
                    await self._sync(asks)
                except Exception as error:  # noqa: BLE001  # it is told to those who wait
                    self._doubt()
                    for ask in asks:
                        if not ask.answer.done():
                            ask.answer.set_exception(error)
        finally:
            self._runner = None

    def _doubt(self) -> None:
        """Nobody knows whether the record changed: nothing more is granted from what is held."""
        self._state = None
        for held in self._held:
            held.tokens = min(held.tokens, held.used.total())

    async def _sync(self, asks: list[_Ask]) -> None:
        """One change of the record: settles, renews and takes."""
        if not asks and not self._open and self._current is not None:
            self._closing.append(self._current)
            self._current = None
        before, fresh = self._state, self._state is None
        while True:
            if before is None:
                before, fresh = await self._rows.load(self._tenant_id, self._token_type, self._clock()), True
            step = _Step(self, before, await self._lapsed(before), asks)
            # What is remembered may grant, for the change says whether it still holds; only what was just read may refuse.
            if (fresh or not step.refuses) and (
                step.after == before
                or await self._rows.replace(
                    self._tenant_id, self._token_type, before.rev, replace(step.after, rev=before.rev + 1)
                )
            ):
                break
            before = None
        self._state = before if step.after == before else replace(step.after, rev=before.rev + 1)
        step.take_effect()

    async def _lapsed(self, state: BudgetState) -> dict[str, dict[str, int]]:
        own = {held.id for held in self._held}
        gone = [lease for lease in state.lapsed(self._clock() - self._rules.grace_ms) if lease.id not in own]
        return {lease.id: await self._rows.used_of(self._tenant_id, lease) for lease in gone}


class _Step:
    """What one change does to the record, and, once it is made, to the share."""

    def __init__(self, share: Share, before: BudgetState, lapsed: dict[str, dict[str, int]], asks: list[_Ask]) -> None:
        self._share = share
        now = share._clock()
        self._settled = [held for held in share._closing if not held.writing]
        self._kept = {held.id: held.used.total() for held in share._held if held not in self._settled}
        state = before.rolled(now)
        for held in self._settled:
            state = state.settled(held.id, held.used)
        for lease_id, used in lapsed.items():
            state = state.settled(lease_id, used)
        for lease_id, used_tokens in self._kept.items():
            state = state.shrunk(lease_id, used_tokens)
        self._refused: list[tuple[_Ask, BudgetExceededError]] = []
        self._granted: list[_Ask] = []
        taken = share._open + self._grant(state, asks, now)
        self._ahead, self._new = 0, None
        if asks or share._open:
            limits = [ask.limits for ask in asks if ask.limits]
            if not self._refused:
                self._ahead = state.ahead(taken, limits, max((ask.tokens for ask in asks), default=0))
            tokens = taken + self._ahead
            since = min([now, *(ask.since for ask in asks)]) - _SLACK_MS
            lease = Lease(uuid.uuid4().hex, tokens, since, now + share._rules.lease_ms)
            if self._granted or share._open:
                self._new = Held(lease, tokens)
                state = state.holding(lease)
        self.after = state
        self._had_limits = any(ask.limits for ask in asks)

    @property
    def refuses(self) -> bool:
        """Whether somebody who waits gets nothing."""
        return bool(self._refused)

    def _grant(self, state: BudgetState, asks: list[_Ask], now: int) -> int:
        tokens = 0
        for ask in asks:
            taken = self._share._open + tokens
            period = state.short_of(ask.tokens, taken, ask.limits) if ask.limits else ""
            if period and ask.limits:
                self._refused.append((ask, self._refusal(state, ask, period, ask.limits, taken, now)))
            else:
                tokens += ask.tokens
                self._granted.append(ask)
        return tokens

    def _refusal(self, state: BudgetState, ask: _Ask, period: str, limits: Limits, taken: int, now: int) -> BudgetExceededError:
        own = sum(self._kept.values())
        return BudgetExceededError(
            token_type=self._share._token_type,
            period=period,
            limit=limits.of(period),
            used=state.used(period) + own,
            reserved=state.reserved - own + taken,
            requested=ask.tokens,
            resets_at_ms=resets_at_ms(now, period),
        )

    def take_effect(self) -> None:
        """Brings the share in line with the record, and answers those who wait."""
        share = self._share
        for held in self._settled:
            share._closing.remove(held)
        for held in share._held:
            held.tokens = min(held.tokens, self._kept.get(held.id, held.tokens))
        if self._new is not None:
            if share._current is not None:
                share._closing.append(share._current)
            share._current = self._new
        if self._had_limits:
            share._exact = self._ahead == 0
        for ask in self._granted:
            if ask.answer.done():
                continue
            share._open += ask.tokens
            ask.answer.set_result(None)
        for ask, error in self._refused:
            if not ask.answer.done():
                ask.answer.set_exception(error)
