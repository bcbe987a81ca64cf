"""Example requests: /docs sends them as they are when a person only presses the button, so they hold required fields only."""

from __future__ import annotations

from typing import Any

from services.gateway.openapi.rules import Schema

_BY_NAME: dict[str, Any] = {
    "collection_id": "nopal-fibra",
    "document_id": "planes-y-precios",
    "id_agente": 1,
    "mensaje": "¿Cuánto cuesta el plan de 200 megas?",
    "name": "Asistente de Nopal Fibra",
    "query": "¿Cuánto cuesta el plan de 200 megas?",
    "session_id": "user-123",
    "text": "# Planes y precios\n\nEl plan de 200 megas cuesta 399 pesos al mes.",
    "texts": ["¿Cuánto cuesta el plan de 200 megas?"],
}
_BY_TYPE: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}


def request_example(message: Schema) -> dict[str, Any]:
    """Returns an example of an object schema: its required fields."""
    properties = message["properties"]
    return {
        name: _BY_NAME.get(name, _BY_TYPE.get(properties[name].get("type", "object"))) for name in message.get("required", [])
    }
