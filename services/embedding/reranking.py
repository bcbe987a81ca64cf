"""How well texts answer a query, by a model that reads both together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.context import Context
from common.errors import Code, DeadlineError, InvalidArgumentError, MallaError, OverloadedError
from common.models import TokenUsage
from services.embedding.ports import CrossEncoder

_LONGEST_WAIT_S = 60.0
_RATE_WEIGHT = 0.2


class NoRerankerError(MallaError):
    """No cross-encoder is configured."""

    code = Code.FAILED_PRECONDITION
    reason = "RERANKER_NOT_CONFIGURED"

    def __init__(self) -> None:
        super().__init__("No reranking model runs here. Name a cross-encoder in MALLA_RERANK_MODEL and start the mesh again.")


@dataclass(frozen=True)
class Reranked:
    """Scores of one call, the higher the better, in the texts' order."""

    scores: Sequence[float]
    model: str
    usage: TokenUsage


class RerankTexts:
    """Scores the texts of one call after another, on a thread of its own; too many waiting are refused."""

    def __init__(self, model: CrossEncoder | None, *, most_texts: int) -> None:
        self._model = model
        self._most_texts = most_texts
        self._waiting = 0
        self._texts_per_s = 20.0
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="reranker")

    async def __call__(self, query: str, texts: Sequence[str], ctx: Context) -> Reranked:
        """Returns the scores.

        Raises:
            NoRerankerError: No model is configured.
            InvalidArgumentError: The query or a text is blank.
            OverloadedError: Too many texts wait.
            DeadlineError: The caller's deadline passed first.
        """
        if self._model is None:
            raise NoRerankerError
        blank = [("query", query), *((f"texts[{i}]", text) for i, text in enumerate(texts))]
        violations = [(name, "must hold more than white space") for name, text in blank if not text.strip()]
        if violations:
            raise InvalidArgumentError(violations)
        if self._waiting and self._waiting + len(texts) > self._most_texts:
            raise OverloadedError("reranking", retry_after_s=max(0.1, self._waiting / self._texts_per_s))
        scores, tokens = await self._scored(self._model, query, texts, ctx)
        usage = TokenUsage(input_tokens=tokens, total_tokens=tokens, provider=self._model.provider, model=self._model.model)
        return Reranked(scores, self._model.model, usage)

    async def _scored(self, model: CrossEncoder, query: str, texts: Sequence[str], ctx: Context) -> tuple[Sequence[float], int]:
        loop = asyncio.get_running_loop()
        self._waiting += len(texts)
        try:
            # A call that is given up before its turn is never computed: cancelling takes it out of the thread's queue.
            async with asyncio.timeout(ctx.remaining_s(_LONGEST_WAIT_S)):
                took_s, result = await loop.run_in_executor(self._computing, _timed, model, query, texts)
        except TimeoutError as error:
            raise DeadlineError("reranking") from error
        finally:
            self._waiting -= len(texts)
        self._texts_per_s += _RATE_WEIGHT * (len(texts) / max(took_s, 1e-6) - self._texts_per_s)
        return result

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Frees the thread when the block ends."""
        try:
            yield
        finally:
            self._computing.shutdown(cancel_futures=True)


def _timed(model: CrossEncoder, query: str, texts: Sequence[str]) -> tuple[float, tuple[Sequence[float], int]]:
    began = time.perf_counter()
    result = model.score(query, texts)
    return time.perf_counter() - began, result
