"""Any sentence-transformers model on onnxruntime, where that computes the same faster than torch."""

from services.embedding.adapters.transformer.engine import OnnxTransformerEngine
from services.embedding.adapters.transformer.load import load_transformer

__all__ = ["OnnxTransformerEngine", "load_transformer"]
