"""The answerer without a model: it quotes the statements that are nearest to the question, and says that it does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import numpy as np

from common.context import Context
from common.llm import estimate_tokens
from common.models import EmbeddingKind, SearchResult, TokenUsage
from services.query.domain.quoting import Statement, overlaps, statements
from services.query.ports import AnswerEnd, AnswerItem, Embedder, MostTokens, Question

MODEL = "extractive"

_MOST_QUOTES = 3
_MOST_STATEMENTS = 64
_PASSAGE_TOKENS = 500
# Beside the statement's own nearness (a cosine; those of e5 lie close together) its passage's score and shared words count.
# Chosen on samples/questions.jsonl: one of the quotes answers 83 of 100; with nearness alone 81, in longer answers.
_PASSAGE_WEIGHT = 0.2
_WORDS_WEIGHT = 0.05
# A statement is quoted when it is nearly as good as the best one.
_NEAR = 0.04

_NOTICE = {
    "es": "No hay ningún modelo de lenguaje configurado: la respuesta son citas literales de los documentos. "
    "Configure GROQ_API_KEY para obtener respuestas redactadas.",
    "en": "No language model is configured: the answer is quoted word for word from the documents. "
    "Set GROQ_API_KEY to get written answers.",
}
_NOTHING = {
    "es": "No encontré nada sobre eso en los documentos.",
    "en": "I found nothing about that in the documents.",
}


class ExtractiveAnswerer:
    """Quotes, with citations."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def most_tokens(self, question: Question, passages: int) -> MostTokens:
        """Returns what the vectors of the question and of the passages' statements may take."""
        return MostTokens(embedding=estimate_tokens(question.text) + passages * _PASSAGE_TOKENS)

    async def answer(
        self, question: Question, passages: Sequence[SearchResult], ctx: Context
    ) -> AsyncGenerator[AnswerItem, None]:
        """Yields the quotes, the notice, and the end."""
        own = TokenUsage(provider="malla", model=MODEL)
        notice = _NOTICE.get(question.language, _NOTICE["en"])
        candidates = statements([passage.text for passage in passages])[:_MOST_STATEMENTS]
        if not candidates:
            yield _NOTHING.get(question.language, _NOTHING["en"])
            yield AnswerEnd(model=MODEL, cited=(), stages=[("answer", own)], facts={"notice": notice})
            return
        chosen, usage = await self._nearest(question, passages, candidates, ctx)
        for number, statement in enumerate(chosen):
            for word in f"{statement.text} [{statement.passage + 1}]".split(" "):
                yield word + " "
            if number < len(chosen) - 1:
                yield "\n"
        yield f"\n\n({notice})"
        cited = [statement.passage for statement in chosen]
        yield AnswerEnd(
            model=MODEL, cited=cited, stages=[("statement_embedding", usage), ("answer", own)], facts={"notice": notice}
        )

    async def _nearest(
        self, question: Question, passages: Sequence[SearchResult], candidates: list[Statement], ctx: Context
    ) -> tuple[list[Statement], TokenUsage]:
        said = await self._embedder.embed([statement.text for statement in candidates], EmbeddingKind.PASSAGE, ctx)
        # Of the same model, by name: then it is the vector that the search remembered.
        asked = await self._embedder.embed([question.text], EmbeddingKind.QUERY, ctx, said.model)
        passage_scores = np.array([passages[statement.passage].score for statement in candidates])
        words = np.array(overlaps(question.text, candidates))
        scores = said.rows @ asked.rows[0] + _PASSAGE_WEIGHT * passage_scores + _WORDS_WEIGHT * words
        best = [int(i) for i in np.argsort(-scores)[:_MOST_QUOTES] if scores[i] >= scores.max() - _NEAR]
        return [candidates[i] for i in best], said.usage
