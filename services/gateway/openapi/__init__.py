"""OpenAPI 3.1, made from the compiled contract, so that the documentation cannot differ from what is served."""

from services.gateway.openapi.document import build_document

__all__ = ["build_document"]
