"""The right passage comes first: a part of the Spanish set through the real engine and the real indexes, in process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from common.models import EmbeddingKind, SearchMode
from common.store import ChunkRecord
from services.embedding.adapters.e5 import load_onnx_engine
from services.embedding.settings import EmbeddingSettings
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.domain.collection_index import CollectionIndex, DocumentUpdate, Search
from services.query.usecases.search import SearchRules
from tests.fakes.spanish import rows, spanish_set

# Two articles whose passages are easily taken for one another.
PASSAGES = 120
QUESTIONS = 400


class Bench:
    """The first passages of the set, and the questions that they answer."""

    def __init__(self, folder: Path) -> None:
        settings = EmbeddingSettings(_env_file=None)
        self._engine = load_onnx_engine(settings.embedding_cache_dir, settings.embedding_threads)
        passages = rows(folder / "passages.jsonl")[:PASSAGES]
        known = {row["id"] for row in passages}
        asked = [row for row in rows(folder / "questions.jsonl") if row["passage_id"] in known][:QUESTIONS]
        self.questions = [(row["question"], row["passage_id"]) for row in asked]
        self.vectors = self._engine.embed([question for question, _ in self.questions], EmbeddingKind.QUERY)
        texts = [f"{row['title']}\n{row['text']}" for row in passages]
        self.index = CollectionIndex("uid", TantivyIndex("es"), FaissIndex)
        self.index.update(
            [self._update(row, v) for row, v in zip(passages, self._engine.embed(texts, EmbeddingKind.PASSAGE), strict=True)], 1
        )

    def _update(self, row: dict[str, str], vector: np.ndarray) -> DocumentUpdate:
        chunk = ChunkRecord(
            chunk_id=row["id"],
            document_id=row["id"],
            version=1,
            ordinal=0,
            text=row["text"],
            vector=vector.astype("<f4").tobytes(),
            model=self._engine.model,
            metadata={"title": row["title"]},
        )
        return DocumentUpdate(row["id"], [chunk])

    def mrr(self, mode: SearchMode) -> float:
        """Returns the mean of 1/rank, 0 beyond the tenth."""
        return float(np.mean([self._one(*asked, mode) for asked in zip(self.questions, self.vectors, strict=True)]))

    def _one(self, asked: Sequence[str], vector: np.ndarray, mode: SearchMode) -> float:
        question, right = asked
        rules = SearchRules()
        weight = rules.dense_weight
        search = Search(question, mode, 10, rules.candidates, vector, self._engine.model, dense_weight=weight)
        found = [candidate.chunk.document_id for candidate in self.index.search(search).candidates]
        return 1 / (found.index(right) + 1) if right in found else 0.0

    def coverage(self, question: str) -> float:
        return self.index.lexical.coverage(question)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(spanish_set())


def test_both_together_find_more_than_either_alone(bench: Bench):
    scores = {mode: bench.mrr(mode) for mode in SearchMode}
    assert scores[SearchMode.HYBRID] >= 0.80  # these articles are harder than most: the whole set gives 0.856
    assert scores[SearchMode.HYBRID] >= max(scores[SearchMode.DENSE], scores[SearchMode.LEXICAL]) + 0.02


def test_words_count_less_for_a_question_in_another_language(bench: Bench):
    assert bench.coverage("¿Quién ganó el partido de fútbol americano?") > 0.8
    assert bench.coverage("Who was the winner of the football game?") < 0.4
