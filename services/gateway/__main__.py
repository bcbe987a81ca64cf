"""Starts the gateway: `python -m services.gateway`."""

from __future__ import annotations

from common.logs import configured
from common.telemetry import running
from services.gateway.bootstrap import build_app
from services.gateway.chat import ChatSockets
from services.gateway.server import serve
from services.gateway.settings import GatewaySettings


def main() -> None:
    """Serves until SIGTERM."""
    settings = configured(GatewaySettings)
    with running("gateway"):
        chat = ChatSockets(settings)
        serve(build_app(chat=chat), settings, chat.drain)


if __name__ == "__main__":
    main()
