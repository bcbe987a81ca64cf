"""What the standard environment variables of OpenTelemetry say; the SDK itself reads those that are not named here."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field

from common.settings import Settings

_GRPC = {"", "grpc"}
_NEVER = {"always_off", "parentbased_always_off"}
_RATIO = {"traceidratio", "parentbased_traceidratio"}
_OTLP_PORT = 4317


class TelemetrySettings(Settings):
    """Where traces and metrics go. Without an endpoint there are none."""

    otlp_endpoint: str = Field(
        default="",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Collector that is told by OTLP over gRPC, such as http://127.0.0.1:4317; empty for no telemetry.",
    )
    otlp_traces_endpoint: str = Field(
        default="", validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", description="Another collector for traces."
    )
    otlp_metrics_endpoint: str = Field(
        default="", validation_alias="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", description="Another collector for metrics."
    )
    otlp_protocol: str = Field(
        default="grpc", validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL", description="grpc; nothing else is spoken here."
    )
    otlp_insecure: bool = Field(
        default=False,
        validation_alias="OTEL_EXPORTER_OTLP_INSECURE",
        description="Whether an endpoint without http:// or https:// is spoken to without TLS.",
    )
    otlp_certificate: str = Field(
        default="",
        validation_alias="OTEL_EXPORTER_OTLP_CERTIFICATE",
        description="File of the authorities that vouch for a collector; the system's where it is empty.",
    )
    otel_service_name: str = Field(
        default="",
        validation_alias="OTEL_SERVICE_NAME",
        description="Name of the process in traces; `malla up` adds the server's: malla-query. Empty for malla.",
    )
    otel_sdk_disabled: bool = Field(
        default=False, validation_alias="OTEL_SDK_DISABLED", description="Turns telemetry off whatever else is said."
    )
    otel_traces_exporter: str = Field(
        default="otlp", validation_alias="OTEL_TRACES_EXPORTER", description="none for no traces."
    )
    otel_metrics_exporter: str = Field(
        default="otlp", validation_alias="OTEL_METRICS_EXPORTER", description="none for no metrics."
    )
    otel_traces_sampler: str = Field(
        default="parentbased_always_on",
        validation_alias="OTEL_TRACES_SAMPLER",
        description="Which traces are kept: parentbased_traceidratio with OTEL_TRACES_SAMPLER_ARG 0.1 for a tenth.",
    )
    otel_traces_sampler_arg: str = Field(
        default="", validation_alias="OTEL_TRACES_SAMPLER_ARG", description="The share of traces kept, 0 to 1."
    )
    metrics_tenants: int = Field(
        default=0,
        ge=0,
        description="Tenants that metrics name, the first ones seen; all later ones are 'other'. 0 names none.",
    )

    @property
    def traces_endpoint(self) -> str:
        """Where traces go; empty for nowhere."""
        return self._endpoint(self.otel_traces_exporter, self.otlp_traces_endpoint)

    @property
    def metrics_endpoint(self) -> str:
        """Where metrics go; empty for nowhere."""
        return self._endpoint(self.otel_metrics_exporter, self.otlp_metrics_endpoint)

    @property
    def is_spoken(self) -> bool:
        """Whether the configured protocol is the one that is spoken here."""
        return self.otlp_protocol.strip().lower() in _GRPC

    @property
    def sampled_percent(self) -> float:
        """The share of traces begun here that are kept, as the proxy wants it: 0 to 100."""
        name = self.otel_traces_sampler.strip().lower()
        if name in _NEVER:
            return 0.0
        if name not in _RATIO:
            return 100.0
        try:
            ratio = float(self.otel_traces_sampler_arg)
        except ValueError:
            ratio = 1.0
        return min(max(ratio, 0.0), 1.0) * 100.0

    def service_name(self, server: str) -> str:
        """Returns what a server of the mesh is called in traces."""
        return f"{self.otel_service_name or 'malla'}-{server}"

    def address(self, endpoint: str) -> tuple[str, int, bool]:
        """Returns host and port of an endpoint, and whether TLS is spoken there, by the rules of the SDK's exporter."""
        has_scheme = "://" in endpoint
        parts = urlsplit(endpoint if has_scheme else f"//{endpoint}")
        tls = parts.scheme == "https" if has_scheme else not self.otlp_insecure
        return parts.hostname or "localhost", parts.port or _OTLP_PORT, tls

    def _endpoint(self, exporter: str, own: str) -> str:
        if self.otel_sdk_disabled or not self.is_spoken or exporter.strip().lower() == "none":
            return ""
        return (own or self.otlp_endpoint).strip()


def export_env_file(path: Path = Path(".env")) -> None:
    """Puts the OTEL_ lines of `.env` into the environment, where the SDK reads them; what is set there already stays."""
    for name, value in dotenv_values(path).items():
        if name.startswith("OTEL_") and value is not None:
            os.environ.setdefault(name, value)
