"""Composes the gateway."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette

from common.settings import DESCRIPTORS
from services.gateway.app import create_app
from services.gateway.openapi import build_document


def build_app(descriptors: Path = DESCRIPTORS) -> Starlette:
    """Returns the application. Raises FileNotFoundError where the contract was never compiled (`make generate`)."""
    return create_app(build_document(descriptors.read_bytes()))
