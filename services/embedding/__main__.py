"""Entry point: `python -m services.embedding`."""

from common.server import run_server
from services.embedding.bootstrap import compose
from services.embedding.settings import EmbeddingSettings

if __name__ == "__main__":
    settings = EmbeddingSettings()
    run_server("embedding", settings, lambda: compose(settings))
