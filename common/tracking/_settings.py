"""Settings of the ledger, its prices and its outbox."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from common.settings import Settings


class Price(BaseModel):
    """US dollars per million tokens. Cached input costs what other input costs where nothing else is said."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)
    cached: float | None = Field(default=None, ge=0)


class TrackingSettings(Settings):
    """How usage is counted, priced and kept."""

    prices: dict[str, Price] = Field(
        default_factory=dict,
        description="Prices by provider:model pattern, over the built-in ones: "
        '{"groq:llama-3.3-70b-versatile": {"input": 0.59, "output": 0.79}, "openai:*": {…}}. No match: no cost.',
    )
    outbox_dir: Path = Field(
        default_factory=lambda: Path("~/.local/state/malla/outbox"),
        description="Where usage waits while the database is away: one folder for a machine's servers, on disk that survives.",
    )
    outbox_max_bytes: int = Field(
        default=64 * 1024 * 1024, ge=0, description="Size of one server's outbox from which billable calls are refused."
    )
    ledger_timeout_s: float = Field(
        default=2.0, gt=0, description="Seconds the database may take for a row; then the row goes to the outbox."
    )
    budget_lease_s: float = Field(
        default=60.0, gt=0, description="Seconds after which what a dead server had reserved is free again."
    )
