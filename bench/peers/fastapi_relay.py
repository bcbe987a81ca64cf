"""The peer: what people glue today. FastAPI, the groq SDK, server-sent events.

Run: python fastapi_relay.py PORT UPSTREAM_URL
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from groq import AsyncGroq

app = FastAPI()
client = AsyncGroq(api_key="none", base_url=sys.argv[2])


async def events(messages: list[dict[str, Any]]) -> AsyncIterator[str]:
    """Yields one event a token."""
    stream = await client.chat.completions.create(model="m", messages=messages, stream=True)  # type: ignore[arg-type,call-overload]
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield f"data: {json.dumps({'delta': {'text': chunk.choices[0].delta.content}})}\n\n"
    yield 'data: {"done": {}}\n\n'


@app.post("/chat")
async def chat(body: dict[str, Any]) -> StreamingResponse:
    """Relays one answer."""
    return StreamingResponse(events([{"role": "user", "content": body["mensaje"]}]), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
