"""The engine: texts in, vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime

from common.e5 import ModelFile
from common.models import EmbeddingKind
from services.embedding.adapters.e5.tokens import Tokens
from services.embedding.adapters.e5.weights import Weights
from services.embedding.adapters.e5.words import Words
from services.embedding.ports import Matrix


class OnnxEngine:
    """multilingual-e5-small on onnxruntime in int8. Texts beyond 512 tokens are cut.

    Each thread computes one text at a time with one core: on the CPU that is faster than batches, which only pad, and than
    several cores on one text. A text gives the same vector whatever it is computed with.
    """

    # The same name as the wheel's own loop, which stands in where this one cannot start: their vectors can be compared, a mean
    # cosine of 0.997 apart, and a collection embedded by one must be found by the other.
    model = "multilingual-e5-small"
    provider = "embedded"

    def __init__(self, file: ModelFile, model: bytes, threads: int) -> None:
        self.dimensions = file.shape.hidden
        self._window = file.shape.positions
        self.window_tokens: int | None = self._window
        self._tokens = Tokens(file)
        self._words = Words(Weights(file))
        self._session = _session(model)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="e5")
        self.at_once = threads

    @property
    def metadata(self) -> dict[str, str]:
        """What the conversion wrote beside the graph."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def count_tokens(self, texts: Sequence[str], kind: EmbeddingKind) -> list[int]:
        """Counts what the model would read of each text, prefix and special tokens included, before the cut."""
        return [self._tokens.count(text, kind) for text in texts]

    def embed(self, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
        """Computes with the prefix the model was trained with; a single text in the caller's thread."""
        if len(texts) == 1:
            return self._vector(texts[0], kind)[None]
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)

        def compute(position: int) -> None:
            vectors[position] = self._vector(texts[position], kind)

        # Longest first, so that no thread ends long after the others.
        list(self._threads.map(compute, sorted(range(len(texts)), key=lambda position: -len(texts[position]))))
        return vectors

    def _vector(self, text: str, kind: EmbeddingKind) -> Matrix:
        words = self._words.rows(self._tokens.ids(text, kind, self._window))
        (vector,) = self._session.run(None, {"words": words[None]})[0]
        return np.asarray(vector, dtype=np.float32)


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The graph is already fused; more would fuse Add and LayerNormalization into their slower form.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
