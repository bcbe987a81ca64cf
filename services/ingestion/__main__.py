"""Entry point: `python -m services.ingestion`."""

from common.server import run_server
from services.ingestion.bootstrap import compose
from services.ingestion.settings import IngestionSettings

if __name__ == "__main__":
    settings = IngestionSettings()
    run_server("ingestion", settings, lambda: compose(settings))
