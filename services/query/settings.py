"""Settings of the query server."""

from __future__ import annotations

from pydantic import Field

from common.settings import ServerSettings, StoreSettings


class QuerySettings(ServerSettings, StoreSettings):
    """How much is searched, remembered and waited for."""

    search_candidates: int = Field(default=100, description="Passages each index proposes before they are fused.")
    search_timeout_s: float = Field(default=30.0, description="Seconds a search may take when the caller sets no deadline.")
    query_cache_size: int = Field(default=4096, description="Question vectors remembered.")
    heartbeat_s: float = Field(default=15.0, description="Seconds of silence after which a stream sends a heartbeat.")
    prompt_tokens: int = Field(default=6000, description="Most tokens of a prompt: instructions, passages, history, question.")
    turn_lease_s: float = Field(default=10.0, description="Seconds after which the turn of a dead server is free.")
    turn_wait_s: float = Field(default=30.0, description="Seconds a message waits for the one before it in its conversation.")
