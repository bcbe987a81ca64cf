"""The engine: texts in, vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import onnxruntime

from common.models import EmbeddingKind
from services.embedding.adapters.transformer.tokens import Tokens
from services.embedding.ports import Matrix

SLICE_TOKENS = 256
"""About the tokens a thread computes at once. More are slower on one core, whose cache they leave; fewer are as well."""

Count = Callable[[list[str]], list[int]]


class OnnxTransformerEngine:
    """A model's graph on onnxruntime in float32: the vectors of torch to four digits, by less work.

    A batch is cut into slices of texts of like length, each computed by one thread on one core: that pads little, and is faster
    than several cores on one product.
    """

    provider = "sentence-transformers"
    at_once = 1

    def __init__(
        self,
        graph: bytes,
        tokens: Tokens,
        count: Count,
        *,
        name: str,
        prompts: dict[EmbeddingKind, str],
        dimensions: int,
        window_tokens: int | None,
        threads: int,
    ) -> None:
        """`count` gives the tokens of texts before any cut; `prompts` what goes before the texts of a kind."""
        self.model = name
        self.dimensions = dimensions
        self.window_tokens = window_tokens
        self._tokens = tokens
        self._count = count
        self._prompts = prompts
        self._session = _session(graph)
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._width = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="onnx")

    def count_tokens(self, texts: Sequence[str], kind: EmbeddingKind) -> list[int]:
        """Counts with the model's own tokenizer, the prompt included."""
        return self._count(self._prompted(texts, kind))

    def embed(self, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
        """Computes; texts beyond the window are cut."""
        encoded = self._tokens.encoded(self._prompted(texts, kind))
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)

        def compute(positions: list[int]) -> None:
            features = self._tokens.features([encoded[position] for position in positions])
            rows = self._session.run(None, {name: features[name] for name in self._inputs})[0]
            vectors[positions] = cast(Matrix, rows)[:, : self.dimensions]

        # Longest first, so that no thread ends long after the others.
        list(self._threads.map(compute, sliced([len(text) for text in encoded], self._width)))
        return cast(Matrix, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def _prompted(self, texts: Sequence[str], kind: EmbeddingKind) -> list[str]:
        prompt = self._prompts[kind]
        return [prompt + text for text in texts]


def sliced(lengths: Sequence[int], threads: int) -> Iterator[list[int]]:
    """Yields the positions of texts computed together, the longest first; so many slices of like work that no thread idles."""
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    total = sum(lengths)
    slices = threads * -(-total // (threads * SLICE_TOKENS))
    taken, made, begin = 0, 0, 0
    for end, position in enumerate(order, 1):
        taken += lengths[position]
        if taken * slices >= total * (made + 1):
            yield order[begin:end]
            begin, made = end, taken * slices // total


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
