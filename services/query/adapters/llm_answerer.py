"""Answers written by a language model from numbered passages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from common.context import Context
from common.llm import Generation, GenerationEnd, Message, Stream
from common.llm.errors import ContextTooLongError
from common.models import SearchResult
from services.query.domain.dialogue import cited_positions
from services.query.domain.prompt import PromptParts, build
from services.query.ports import AnswerEnd, Answerer, Question


class Models(Protocol):
    """The configured models."""

    @property
    def available(self) -> bool:
        """Whether any is configured."""
        ...

    def stream(self, request: Generation) -> Stream:
        """Yields deltas as they arrive, then the end. Raises the errors of common.llm.errors."""
        ...


class LlmAnswerer:
    """Writes answers; keeps prompts within a budget, and shortens them when a model finds them too long all the same."""

    def __init__(self, models: Models, *, prompt_tokens: int) -> None:
        self._models = models
        self._prompt_tokens = prompt_tokens

    async def answer(
        self,
        question: Question,
        passages: Sequence[SearchResult],
        ctx: Context,  # noqa: ARG002  # the port's
    ) -> AsyncGenerator[str | AnswerEnd, None]:
        """Yields the answer's text as the model makes it, then the end. Raises the errors of common.llm.errors."""
        parts = PromptParts(question.text, question.language, question.instructions, question.history, passages)
        pieces: list[str] = []
        fitting: PromptParts | None = parts.within(self._prompt_tokens)
        while fitting is not None:
            parts, fitting = fitting, None
            try:
                async with aclosing(self._models.stream(_generation(question, parts))) as generated:
                    async for item in generated:
                        if isinstance(item, str):
                            pieces.append(item)
                            yield item
                        else:
                            yield _end(item, "".join(pieces), parts)
            except ContextTooLongError:
                fitting = None if pieces else parts.shorter()
                if fitting is None:
                    raise


class ConfiguredAnswerer:
    """The model's answers where one is configured, quotes where none is."""

    def __init__(self, models: Models, written: Answerer, quoted: Answerer) -> None:
        self._models = models
        self._written = written
        self._quoted = quoted

    async def answer(
        self, question: Question, passages: Sequence[SearchResult], ctx: Context
    ) -> AsyncGenerator[str | AnswerEnd, None]:
        """Yields what the chosen answerer yields."""
        chosen = self._written if self._models.available else self._quoted
        async with aclosing(chosen.answer(question, passages, ctx)) as answer:
            async for item in answer:
                yield item


def _generation(question: Question, parts: PromptParts) -> Generation:
    return Generation(
        model=question.model,
        messages=[Message(message.role, message.content) for message in build(parts)],
        temperature=question.temperature,
        max_tokens=question.max_tokens,
    )


def _end(end: GenerationEnd, answer: str, parts: PromptParts) -> AnswerEnd:
    facts: dict[str, str | int | bool] = {}
    if end.notice:
        facts["notice"] = end.notice
    if parts.dropped_turns:
        facts["dropped_turns"] = parts.dropped_turns
    if parts.dropped_passages:
        facts["dropped_passages"] = parts.dropped_passages
    return AnswerEnd(
        model=end.model,
        cited=cited_positions(answer, len(parts.passages)),
        stages=[("answer", end.usage)],
        finish_reason=end.finish_reason,
        facts=facts,
    )
