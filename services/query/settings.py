"""Settings of the query server."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from common.settings import ServerSettings, StoreSettings


class QuerySettings(ServerSettings, StoreSettings):
    """How much is searched, remembered and waited for."""

    search_candidates: int = Field(default=100, description="Passages each index proposes before they are fused.")
    search_dense_weight: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="How much vectors count beside words in a hybrid search of a collection that does not say, from 0 to 1.",
    )
    rerank_model: str = Field(
        default="", description="Cross-encoder that the embedding server runs; best passages are reranked where one is named."
    )
    rerank_candidates: int = Field(default=20, ge=1, le=100, description="Passages that are reranked.")
    search_timeout_s: float = Field(default=30.0, description="Seconds a search may take when the caller sets no deadline.")
    query_cache_size: int = Field(default=4096, description="Question vectors remembered.")
    heartbeat_s: float = Field(default=15.0, description="Seconds of silence after which a stream sends a heartbeat.")
    prompt_tokens: int = Field(default=6000, description="Most tokens of a prompt: instructions, passages, history, question.")
    turn_lease_s: float = Field(default=10.0, description="Seconds after which the turn of a dead server is free.")
    turn_wait_s: float = Field(default=30.0, description="Seconds a message waits for the one before it in its conversation.")
    answer_keep_s: float = Field(
        default=86_400.0, gt=0, description="Seconds for which a repeated request_id of a query gets the first answer."
    )
    index_dir: Path | None = Field(
        default=None, description="Folder for snapshots of the indexes; without one each start reads them from the record."
    )
    index_memory_bytes: int = Field(
        default=2 * 1024**3, ge=0, description="Most that indexes may take in memory, the last used ones first; 0 for no bound."
    )
    index_snapshot_passages: int = Field(
        default=5000, gt=0, description="Passages that came, or a tenth of the collection, after which a snapshot is written."
    )
    index_snapshot_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds after which a snapshot holds every change, or ten times what the last one took.",
    )
