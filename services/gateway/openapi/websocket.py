"""Describes the WebSocket: OpenAPI has a word for its handshake, a GET; for its frames there is `x-websocket`."""

from __future__ import annotations

from services.gateway.chat import CHAT_PATH, SUBPROTOCOL
from services.gateway.openapi.contract import Contract
from services.gateway.openapi.errors import answer_headers, failures
from services.gateway.openapi.example_values import FIELDS
from services.gateway.openapi.examples import Examples
from services.gateway.openapi.operations import summary
from services.gateway.openapi.parameters import Parameters, path_variables, shared_parameters
from services.gateway.openapi.rules import Schema
from services.gateway.openapi.schemas import Schemas
from services.gateway.openapi.statuses import Statuses

_METHOD = "ChatService.StreamChat"
_DESCRIPTION = (
    "A WebSocket: text frames of JSON in, the events of `StreamChat` out, many turns on one socket, answered one after another "
    "in the order of their messages. `x-websocket` describes the frames.\n\n"
    "A browser cannot send the `Authorization` header here; it offers two subprotocols instead, `{subprotocol}` and "
    '`malla.bearer.<token>`, and is answered the first: `new WebSocket(url, ["{subprotocol}", "malla.bearer." + token])`.\n\n'
    "A turn that fails ends in an `error` event and leaves the socket open. The socket is closed with 4401 when the token "
    "expires or is revoked, 1001 when the server goes away, 1009 after a frame that is too large, 1011 after a bug. Closing it "
    "stops the turn that runs. Ping frames are answered; the server sends its own.\n\n"
    "Needs a token with the scope `{scope}`."
)
_SENT = "One message of the visitor. What the path says is not sent."
_STATUSES = ("400", "401", "403", "404", "426", "429", "431", "500", "503")


def websocket_path(contract: Contract, schemas: Schemas, examples: Examples) -> tuple[str, Schema]:
    """Returns the path of the WebSocket and its handshake."""
    method = next(method for method in contract.methods if method.full_name == _METHOD)
    parameters, said = Parameters(contract, schemas), Statuses(contract).of(method, with_body=False)
    in_path = path_variables(CHAT_PATH)
    message = schemas.message(method.request, frozenset(in_path), sent=True) | {"description": _SENT}
    return CHAT_PATH, {
        "get": {
            "tags": [method.service],
            "summary": f"WebSocket. {summary(method.description)}",
            "description": _DESCRIPTION.format(subprotocol=SUBPROTOCOL, scope=method.scope),
            "operationId": f"{_METHOD}.WebSocket",
            "security": [{"bearerAuth": [method.scope]}],
            "parameters": [*(parameters.in_path(method.request, name) for name in in_path), *shared_parameters()],
            "responses": {
                "101": {"description": "The socket is open.", "headers": answer_headers(limited=False)},
                **failures({status: said.get(status, "") for status in _STATUSES}),
            },
            "x-websocket": {
                "subprotocols": [SUBPROTOCOL, "malla.bearer.<token>"],
                "send": {"schema": message, "example": {"mensaje": FIELDS["mensaje"], "request_id": "mensaje-0001"}},
                "receive": {"schema": schemas.reference(method.response), "examples": examples.stream(method)},
                "close": {
                    "1001": "The server goes away.",
                    "1009": "A frame is too large.",
                    "4401": "The token is good no more.",
                },
            },
        }
    }
