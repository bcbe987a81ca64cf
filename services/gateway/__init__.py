"""The gateway: what the public edge serves that is not RPC: the console, /docs and /openapi.json."""
