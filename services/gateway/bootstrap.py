"""Composes the gateway."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette

from common.settings import DESCRIPTORS
from services.gateway.app import create_app
from services.gateway.chat import ChatSockets
from services.gateway.openapi import build_document
from services.gateway.settings import GatewaySettings


def build_app(descriptors: Path = DESCRIPTORS, chat: ChatSockets | None = None) -> Starlette:
    """Returns the application. Raises FileNotFoundError where the contract was never compiled (`make generate`)."""
    sockets = chat or ChatSockets(GatewaySettings())
    return create_app(build_document(descriptors.read_bytes()), sockets.routes, sockets.lifespan)
