"""Entry point: `python -m services.embedding`."""

from common.logs import configured
from common.server import run_server
from services.embedding.bootstrap import compose
from services.embedding.settings import EmbeddingSettings

if __name__ == "__main__":
    settings = configured(EmbeddingSettings)
    run_server("embedding", settings, lambda: compose(settings))
