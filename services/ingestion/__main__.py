"""Entry point: `python -m services.ingestion`."""

from common.logs import configured
from common.server import run_server
from services.ingestion.bootstrap import compose
from services.ingestion.settings import IngestionSettings

if __name__ == "__main__":
    settings = configured(IngestionSettings)
    run_server("ingestion", settings, lambda: compose(settings))
