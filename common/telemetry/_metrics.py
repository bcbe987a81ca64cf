"""The instruments of the mesh. No instrument names a tenant, but for the first few where that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter
from opentelemetry.semconv._incubating.metrics.gen_ai_metrics import (
    GEN_AI_CLIENT_OPERATION_DURATION,
    GEN_AI_CLIENT_TOKEN_USAGE,
    GEN_AI_SERVER_TIME_TO_FIRST_TOKEN,
)
from opentelemetry.semconv._incubating.metrics.rpc_metrics import RPC_SERVER_CALL_DURATION

# The boundaries that the semantic conventions advise, https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/.
_RPC_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0)
_MODEL_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
_TEXTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
_OTHER = "other"


@dataclass
class TenantLabels:
    """Names the first `most` tenants it meets; the others are one."""

    most: int
    _seen: set[str] = field(default_factory=set)

    def of(self, tenant_id: str) -> dict[str, str]:
        """Returns the label of a tenant; none where no tenants are named."""
        if not self.most:
            return {}
        if tenant_id not in self._seen:
            if len(self._seen) >= self.most:
                return {"malla.tenant": _OTHER}
            self._seen.add(tenant_id)
        return {"malla.tenant": tenant_id}


@dataclass(frozen=True)
class Measures:
    """What is counted as it happens; what is looked at when it is exported is made with `observe`."""

    tenants: TenantLabels
    rpc_duration: Histogram
    active_streams: UpDownCounter
    batch_texts: Histogram
    batch_tokens: Histogram
    queue_wait: Histogram
    dropped_texts: Counter
    job_duration: Histogram
    token_usage: Histogram
    model_duration: Histogram
    first_token: Histogram
    budget_refusals: Counter

    @classmethod
    def of(cls, meter: Meter, *, tenants: int) -> Measures:
        """Makes the instruments."""

        def histogram(name: str, unit: str, bounds: tuple[float, ...], description: str) -> Histogram:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)

        return cls(
            tenants=TenantLabels(tenants),
            rpc_duration=histogram(RPC_SERVER_CALL_DURATION, "s", _RPC_S, "Duration of calls served, by method and status."),
            active_streams=meter.create_up_down_counter(
                "malla.server.active_streams", "{stream}", "Server streams that are open, by method."
            ),
            batch_texts=histogram("malla.embedding.batch.texts", "{text}", _TEXTS, "Texts that were computed together."),
            batch_tokens=histogram("malla.embedding.batch.tokens", "{token}", _TOKENS, "Tokens that were computed together."),
            queue_wait=histogram("malla.embedding.queue.wait", "s", _RPC_S, "Wait of a call for its first batch, by lane."),
            dropped_texts=meter.create_counter(
                "malla.embedding.dropped_texts", "{text}", "Texts never computed: nobody waited for them any more."
            ),
            job_duration=histogram("malla.ingestion.job.duration", "s", _RPC_S, "Duration of tries at a job, by outcome."),
            token_usage=histogram(GEN_AI_CLIENT_TOKEN_USAGE, "{token}", _TOKENS, "Tokens of generations, by type."),
            model_duration=histogram(GEN_AI_CLIENT_OPERATION_DURATION, "s", _MODEL_S, "Duration of generations."),
            first_token=histogram(GEN_AI_SERVER_TIME_TO_FIRST_TOKEN, "s", _FIRST_S, "Time to the first token of a generation."),
            budget_refusals=meter.create_counter("malla.budget.refusals", "{call}", "Calls refused by a budget, by its kind."),
        )
