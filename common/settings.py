"""One base for all settings: environment variables and `.env`, typed, documented, unknown keys ignored."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent
"""The checkout: templates, descriptors and samples are read from here."""

DESCRIPTORS = REPOSITORY / "generated" / "malla.binpb"
"""The compiled contract, read by the proxy's transcoder and by /openapi.json."""


class Settings(BaseSettings):
    """Base of every settings class. Fields are read from `MALLA_<FIELD>` unless they name an alias."""

    model_config = SettingsConfigDict(
        env_prefix="MALLA_", env_file=".env", env_file_encoding="utf-8", extra="ignore", populate_by_name=True
    )

    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")


class ServerSettings(Settings):
    """Settings of every gRPC server."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=0, description="Port to listen on; 0 for a free one.")
    mesh_address: str = Field(
        default="127.0.0.1:9000", description="The mesh listener, through which other servers are called."
    )
    max_message_bytes: int = Field(default=8 * 1024 * 1024, description="Largest gRPC message, each way.")
    max_concurrent_rpcs: int = Field(default=1000, description="Calls in flight; more are refused with RESOURCE_EXHAUSTED.")
    drain_grace_s: float = Field(default=20.0, description="Seconds that calls may take to end after SIGTERM.")


class StoreSettings(Settings):
    """Settings of the record."""

    mongodb_uri: str = Field(
        default="mongodb://127.0.0.1:27017", validation_alias="MONGODB_URI", description="Where the record is kept."
    )
    mongodb_database: str = Field(default="malla", validation_alias="MONGODB_DATABASE", description="Database name.")
    mongodb_timeout_s: float = Field(
        default=5.0, validation_alias="MONGODB_TIMEOUT", description="Seconds one database operation may take."
    )
