"""Settings of the ingestion server."""

from __future__ import annotations

from pydantic import Field

from common.settings import ServerSettings, StoreSettings


class IngestionSettings(ServerSettings, StoreSettings):
    """How large documents may be and how jobs are worked on."""

    upload_max_bytes: int = Field(default=64 * 1024 * 1024, description="Largest file.")
    upload_timeout_s: float = Field(default=900.0, description="Seconds the bytes of one file may take to arrive.")
    sweep_s: float = Field(default=600.0, description="Seconds between removals of bytes that broken uploads left behind.")
    chunk_tokens: int = Field(default=220, description="Most tokens of one chunk.")
    chunk_overlap_tokens: int = Field(
        default=40, description="Most tokens of the chunk before, in whole sentences, that a chunk begins with."
    )
    embed_batch: int = Field(default=16, description="Chunks sent to the embedding server at once.")
    ingestion_workers: int = Field(default=2, description="Jobs worked on at the same time.")
    lease_s: float = Field(default=10.0, description="Seconds after which the job of a dead worker is taken over.")
    poll_s: float = Field(default=0.5, description="Seconds between looks for jobs that another server accepted.")
    max_attempts: int = Field(default=5, description="Times a job is tried after failures that are its own.")
    extract_timeout_s: float = Field(default=120.0, description="Seconds the reading of one file may take.")
    extract_max_characters: int = Field(default=10_000_000, description="Longest text of one document, in characters.")
    extract_memory_bytes: int = Field(default=4 * 1024**3, description="Memory the reading process may use.")
