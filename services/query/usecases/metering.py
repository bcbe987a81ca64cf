"""Counting what a call consumes: kept from the budgets before, written to the ledger once after, whatever becomes of the call.

Embeddings note what they took in the context, for they are computed deep inside a search; the answer is noted here.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.context import Context
from common.llm.usage import estimate_tokens
from common.models import StageUsage, TokenUsage
from common.tasks import finished
from common.tracking import TOKEN_TYPE_EMBEDDING, TOKEN_TYPE_LLM, Reservation, UsageEntry
from services.query.ports import Asking, MostTokens
from services.query.usage_ports import Accounts

ANSWER = "answer"
"""The step in which a language model answers."""

RERANKING = "reranking"
"""The step in which a cross-encoder reads the best passages."""

# What the other steps take, vectors and reranking, is the embedding server's.
_OF_LANGUAGE_MODELS = (ANSWER, "connection_test")


@dataclass(frozen=True)
class Bill:
    """Under what a call is counted.

    Attributes:
        key: Begins the idempotency key of each of its rows: the same key counts once.
        operation: One of common.tracking.OPERATIONS.
        agent_id: The agent that answers; empty for none.
    """

    key: str
    operation: str
    agent_id: str = ""


def bill_key(request_id: str, ctx: Context, *work: str, attempt: str = "") -> str:
    """Returns the key of a piece of work.

    The same for a repeated `request_id`, as long as it is the same work: a key does not buy other work. Without a `request_id`
    every call is its own; the call's request id, which callers may use for many calls, is then only there to be read.
    An `attempt` tells apart the times that a model is asked for one answer: each has its price.
    """
    if not request_id:
        return f"{ctx.request_id}/{uuid.uuid4().hex[:16]}"
    digest = hashlib.sha256("\0".join(work).encode()).hexdigest()
    return f"{request_id}/{digest[:16]}" + (f"/{attempt}" if attempt else "")


class Meter:
    """What one call has consumed so far."""

    def __init__(self, accounts: Accounts, bill: Bill, ctx: Context) -> None:
        self._accounts = accounts
        self._bill = bill
        self._ctx = ctx
        self._spent_before = len(ctx.spent)
        self._kept: list[Reservation] = []
        self._asking: Asking | None = None
        self._pieces: list[str] = []
        self._answered: list[StageUsage] = []
        self._committed = False

    async def reserve(self, most: MostTokens) -> None:
        """Keeps tokens of the budgets. Raises BudgetExceededError; then nothing is kept."""
        for token_type, tokens in ((TOKEN_TYPE_EMBEDDING, most.embedding), (TOKEN_TYPE_LLM, most.llm)):
            if tokens:
                kept = await self._accounts.reserve(self._ctx, key=self._bill.key, token_type=token_type, tokens=tokens)
                self._kept.append(kept)

    def asking(self, asking: Asking) -> None:
        """Notes that a language model is asked: from now on there is an answer to count."""
        self._asking = asking

    def heard(self, piece: str) -> None:
        """Notes a piece of the answer."""
        self._pieces.append(piece)

    def answered(self, stages: Iterable[tuple[str, TokenUsage]]) -> None:
        """Notes what the steps of a whole answer took; what the embedding server did for it was noted as it was done."""
        self._answered = [usage.as_stage(name) for name, usage in stages if name in _OF_LANGUAGE_MODELS]

    def refused(self) -> None:
        """Notes a failure. A model that failed before its first piece made nothing that is billed."""
        if not self._pieces:
            self._asking = None

    @property
    def spent(self) -> list[StageUsage]:
        """What steps inside the call noted so far, each once."""
        return list(_merged(self._ctx.spent[self._spent_before :]))

    @property
    def usage(self) -> TokenUsage:
        """What was consumed so far; the answer estimated where its provider did not come to count it."""
        return TokenUsage.of_stages(self._stages())

    async def commit(self) -> None:
        """Writes what was consumed, once: durable when it returns. What was kept beyond it is given back."""
        if self._committed:
            return
        self._committed = True
        entries = [self._entry(stage) for stage in self._stages() if stage.total_tokens]
        if entries:
            await self._accounts.commit(self._kept, entries, self._ctx)
            return
        for kept in self._kept:
            await self._accounts.release(kept)

    def _stages(self) -> list[StageUsage]:
        return [*self.spent, *(self._answered or self._cut_short())]

    def _cut_short(self) -> Iterator[StageUsage]:
        if self._asking is not None:
            made = estimate_tokens("".join(self._pieces))
            yield StageUsage(
                stage=ANSWER,
                input_tokens=self._asking.prompt_tokens,
                output_tokens=made,
                total_tokens=self._asking.prompt_tokens + made,
                estimated=True,
                provider=self._asking.provider,
                model=self._asking.model,
            )

    def _entry(self, stage: StageUsage) -> UsageEntry:
        return UsageEntry.of(
            stage,
            idempotency_key=f"{self._bill.key}/{stage.stage}",
            token_type=TOKEN_TYPE_LLM if stage.stage in _OF_LANGUAGE_MODELS else TOKEN_TYPE_EMBEDDING,
            operation=self._bill.operation,
            session_id=self._ctx.session_id,
            agent_id=self._bill.agent_id,
            request_id=self._ctx.request_id,
        )


@asynccontextmanager
async def metered(accounts: Accounts, bill: Bill, most: MostTokens, ctx: Context) -> AsyncIterator[Meter]:
    """Keeps tokens for a call, and counts what it consumed when the block ends, however it does.

    Raises BudgetExceededError before anything is spent.
    """
    meter = Meter(accounts, bill, ctx)
    try:
        await meter.reserve(most)
        yield meter
    except Exception:
        meter.refused()
        raise
    finally:
        # Not cut short with the call: what was consumed is written when the caller has left, too.
        await finished(meter.commit())


def _merged(spent: Iterable[StageUsage]) -> Iterator[StageUsage]:
    """Yields a step once, however often it ran: a search of several collections computes a vector for each."""
    by_name: dict[str, list[StageUsage]] = {}
    for stage in spent:
        by_name.setdefault(stage.stage, []).append(stage)
    for name, stages in by_name.items():
        yield TokenUsage.of_stages(stages).as_stage(name)
