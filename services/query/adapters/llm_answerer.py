"""Answers written by a language model from numbered passages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from common.context import Context
from common.errors import Code, MallaError
from common.llm import Generation, GenerationEnd, Message, Stream, estimate_prompt_tokens
from common.llm.errors import ContextTooLongError
from common.llm.routing import Choice
from common.models import SearchResult
from common.tiers import TierLimits, TierSettings
from services.query.domain.dialogue import cited_positions
from services.query.domain.prompt import PromptParts, build
from services.query.ports import AnswerEnd, Answerer, AnswerItem, Asking, MostTokens, Question

# More than a passage has with its title and its neighbours; what is kept of a budget is the prompt's own limit at most.
_PASSAGE_TOKENS = 800

Facts = dict[str, str | int | bool]


class ModelAboveTierError(MallaError):
    """The tier allows neither the model nor any other."""

    code = Code.PERMISSION_DENIED
    reason = "MODEL_ABOVE_TIER"

    def __init__(self, model: str, tier: str) -> None:
        super().__init__(
            f"Tier '{tier}' does not allow the model '{model}', and MALLA_TIERS names no other for it. Ask for another tier.",
            details={"model": model, "tier": tier},
        )


class Models(Protocol):
    """The configured models."""

    @property
    def available(self) -> bool:
        """Whether any is configured."""
        ...

    def resolve(self, model: str) -> Choice:
        """Returns what a request for `model` asks first."""
        ...

    def lacks(self, choice: Choice) -> bool:
        """Returns whether the provider is known not to have the model; asks nobody."""
        ...

    def stream(self, request: Generation) -> Stream:
        """Yields deltas as they arrive, then the end. Raises the errors of common.llm.errors."""
        ...


class LlmAnswerer:
    """Writes answers; keeps prompts within a budget, and shortens them when a model finds them too long all the same.

    Args:
        tiers: Which models a tenant may have.
        prompt_tokens: The most tokens of a prompt.
        answer_tokens: The most tokens of an answer where the caller does not say.
    """

    def __init__(self, models: Models, tiers: TierSettings, *, prompt_tokens: int, answer_tokens: int) -> None:
        self._models = models
        self._tiers = tiers
        self._prompt_tokens = prompt_tokens
        self._answer_tokens = answer_tokens

    def most_tokens(self, question: Question, passages: int) -> MostTokens:
        """Returns the most an answer from so many passages may take: the longest prompt and the longest answer."""
        bare = _messages(PromptParts(question.text, question.language, question.instructions))
        never_leave = estimate_prompt_tokens(bare)
        history = estimate_prompt_tokens([Message(turn.role, turn.content) for turn in question.history])
        whole = never_leave + history + passages * _PASSAGE_TOKENS
        return MostTokens(llm=max(never_leave, min(whole, self._prompt_tokens)) + (question.max_tokens or self._answer_tokens))

    async def answer(
        self, question: Question, passages: Sequence[SearchResult], ctx: Context
    ) -> AsyncGenerator[AnswerItem, None]:
        """Yields the answer's text as the model makes it, then the end.

        A model above the caller's tier is replaced by the best one the tier allows, and the end says so. Raises the errors of
        common.llm.errors, and ModelAboveTierError where the tier names no model.
        """
        choice, facts = self._allowed(question.model, ctx)
        parts = PromptParts(question.text, question.language, question.instructions, question.history, passages)
        pieces: list[str] = []
        fitting: PromptParts | None = parts.within(self._prompt_tokens)
        while fitting is not None:
            parts, fitting = fitting, None
            request = _generation(question, choice.model if facts else question.model, parts, self._granted(ctx))
            yield Asking(choice.provider, choice.model, estimate_prompt_tokens(request.messages))
            try:
                async with aclosing(self._models.stream(request)) as generated:
                    async for item in generated:
                        if isinstance(item, str):
                            pieces.append(item)
                            yield item
                        else:
                            yield _end(item, "".join(pieces), parts, facts)
            except ContextTooLongError:
                fitting = None if pieces else parts.shorter()
                if fitting is None:
                    raise

    def _allowed(self, wanted: str, ctx: Context) -> tuple[Choice, Facts]:
        asked = self._models.resolve(wanted)
        if self._granted(ctx)(asked.provider, asked.model):
            return asked, {}
        best = self._best(self._tiers.of(ctx.tier))
        if best is None:
            raise ModelAboveTierError(asked.model, ctx.tier.value)
        facts: Facts = {"model_downgraded": True, "model_requested": wanted or asked.model, "model": best.model}
        for name, value in facts.items():
            ctx.add_metric(name, value)
        return best, facts

    def _granted(self, ctx: Context) -> Callable[[str, str], bool]:
        """Returns what says whether the caller's tier has a provider's model."""
        limits = self._tiers.of(ctx.tier)
        # Other providers are the operator's own servers, which no tier knows.
        return lambda provider, model: provider != "groq" or limits.allows(model)

    def _best(self, limits: TierLimits) -> Choice | None:
        """Returns the best model the tier allows, of those the provider has; without a list of them, the best of all."""
        choices = [self._models.resolve(name) for name in (*limits.preferred, "")]
        allowed = [choice for choice in choices if limits.allows(choice.model)]
        return next((choice for choice in allowed if not self._models.lacks(choice)), allowed[0] if allowed else None)


class ConfiguredAnswerer:
    """The model's answers where one is configured, quotes where none is."""

    def __init__(self, models: Models, written: Answerer, quoted: Answerer) -> None:
        self._models = models
        self._written = written
        self._quoted = quoted

    def most_tokens(self, question: Question, passages: int) -> MostTokens:
        """Returns what the chosen answerer may take."""
        return self._chosen.most_tokens(question, passages)

    def answer(self, question: Question, passages: Sequence[SearchResult], ctx: Context) -> AsyncGenerator[AnswerItem, None]:
        """Returns what the chosen answerer yields."""
        return self._chosen.answer(question, passages, ctx)

    @property
    def _chosen(self) -> Answerer:
        return self._written if self._models.available else self._quoted


def _messages(parts: PromptParts) -> list[Message]:
    return [Message(message.role, message.content) for message in build(parts)]


def _generation(question: Question, model: str, parts: PromptParts, allows: Callable[[str, str], bool]) -> Generation:
    return Generation(
        model=model,
        messages=_messages(parts),
        temperature=question.temperature,
        max_tokens=question.max_tokens,
        allows=allows,
    )


def _end(end: GenerationEnd, answer: str, parts: PromptParts, known: Facts) -> AnswerEnd:
    facts = dict(known)
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
