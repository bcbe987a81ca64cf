"""Writes a sentence-transformers model as an ONNX graph in float32: token ids in, vectors out, whatever its modules are."""

from __future__ import annotations

import hashlib
import re
import warnings
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel

_OPSET = 18
_FORMAT = 1
"""Raised whenever the export writes another graph."""

OUTPUT = "vectors"


class _Whole(torch.nn.Module):
    """All modules of a model, with the features as arguments."""

    def __init__(self, model: SentenceTransformer, names: list[str]) -> None:
        super().__init__()
        self._model = model
        self._names = names

    def forward(self, *features: torch.Tensor) -> Any:
        return self._model(dict(zip(self._names, features, strict=True)))["sentence_embedding"]


def exported(model: SentenceTransformer) -> bytes:
    """Returns the serialised graph. Raises whatever torch does for a model that it cannot trace, or one of 2 GB or more."""
    texts = ["One text.", "Another text, which is somewhat longer, so that the first is padded."]
    features = {name: value for name, value in model.preprocess(texts).items() if isinstance(value, torch.Tensor)}
    names = list(features)
    with TemporaryDirectory() as folder, torch.inference_mode(), warnings.catch_warnings():
        written = Path(folder) / "graph.onnx"
        # It warns of each shape that it might take for a constant; the check with other shapes tells. And of its age: the graph
        # of torch's newer exporter is a tenth slower here, takes eight times as long to make, and needs two packages more.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Whole(model.eval(), names),
            tuple(features.values()),
            written,
            input_names=names,
            output_names=[OUTPUT],
            dynamic_axes={**{name: {0: "texts", 1: "tokens"} for name in names}, OUTPUT: {0: "texts"}},
            opset_version=_OPSET,
            dynamo=False,
        )
        return written.read_bytes()


def file_name(model: SentenceTransformer, name: str) -> str:
    """Returns what the graph's file is called: by all that it is made from, so that a stale one is never read."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:64]
    return f"{readable}-float32-{_FORMAT}-{_fingerprint(model)[:32]}.onnx"


def _fingerprint(model: SentenceTransformer) -> str:
    """Hashes the weights themselves: a folder or a name may hold another model tomorrow."""
    seen = hashlib.sha256()
    versions = [version(package) for package in ("torch", "transformers", "sentence-transformers")]
    configs: list[Any] = [module.config for module in model.modules() if isinstance(module, PreTrainedModel)]
    seen.update(repr((versions, str(model), [config.to_json_string() for config in configs[:1]])).encode())
    for name, tensor in model.state_dict().items():
        seen.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        seen.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
    return seen.hexdigest()
