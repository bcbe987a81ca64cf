"""Entry point: `python -m services.query`."""

from common.logs import configured
from common.server import run_server
from services.query.bootstrap import compose
from services.query.settings import QuerySettings

if __name__ == "__main__":
    settings = configured(QuerySettings)
    run_server("query", settings, lambda: compose(settings))
