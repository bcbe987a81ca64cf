"""The gateway: what the public edge serves that is not RPC: the console, /docs, /openapi.json and the chat's WebSocket."""
