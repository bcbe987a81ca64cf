"""One base for all settings: environment variables and `.env`, typed, documented, unknown keys ignored."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.mtls import MeshTls
from common.secrets import hide

REPOSITORY = Path(__file__).resolve().parent.parent
"""The checkout: templates, descriptors and samples are read from here."""

DESCRIPTORS = REPOSITORY / "generated" / "malla.binpb"
"""The compiled contract, read by the proxy's transcoder and by /openapi.json."""


class Settings(BaseSettings):
    """Base of every settings class. Fields are read from `MALLA_<FIELD>` unless they name an alias."""

    model_config = SettingsConfigDict(
        env_prefix="MALLA_",
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_level_libraries: str = Field(
        default="INFO", description="The same for libraries. At DEBUG they write prompts and documents, though no secret."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_no_path(cls, given: Any, info: ValidationInfo) -> Any:
        """A path that is set to nothing is not set: it would be the working directory."""
        field = cls.model_fields[info.field_name or ""]
        if given == "" and Path in (field.annotation, *get_args(field.annotation)):
            return field.get_default(call_default_factory=True)
        return given

    @field_validator("log_level", "log_level_libraries")
    @classmethod
    def _check_level(cls, level: str) -> str:
        if level.upper() not in logging.getLevelNamesMapping():
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return level

    @model_validator(mode="after")
    def _hide_secrets(self) -> Self:
        """Makes every secret among the settings known to the filter that keeps secrets out of logs and errors."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                hide(value.get_secret_value())
        return self


def wrong_setting(error: BaseException) -> str:
    """Returns which setting is wrong, by its name in the environment, and why; "" where an error is about none."""
    if not isinstance(error, ValidationError):
        return ""
    kind = next((one for one in _kinds(Settings) if one.__name__ == error.title), None)
    if kind is None:
        return ""
    first = error.errors(include_url=False, include_input=False)[0]
    why = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"The settings do not fit each other: {why}."
    name = str(first["loc"][0])
    return f"The setting {f'MALLA_{name.upper()}' if name in kind.model_fields else name} is wrong: {why}."


def _kinds(base: type[Settings]) -> Iterator[type[Settings]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


class MeshSettings(Settings):
    """How a server knows that a call comes from the mesh."""

    mesh_key: SecretStr = Field(
        default=SecretStr(""), description="What the proxy adds to each call; calls without it are refused. Empty to take all."
    )
    mesh_key_file: Path | None = Field(default=None, description="A file that holds the mesh key, instead of the key itself.")
    revoked_tokens: Path | None = Field(
        default=None,
        description="File of the revoked tokens, as the proxy has it; their streams and WebSockets end. Empty to watch none.",
    )
    tls_cert: Path | None = Field(
        default=None,
        description="This process's certificate for the mesh, PEM: it is served with it, and shows it where it calls. "
        "Without one the mesh is plaintext, as on one machine it may be.",
    )
    tls_key: Path | None = Field(default=None, description="The certificate's private key, PEM.")
    tls_ca: Path | None = Field(default=None, description="The authorities of the mesh, PEM: whom this process believes.")
    trust_domain: str = Field(default="malla.local", description="Domain of the mesh's SPIFFE ids.")

    @model_validator(mode="after")
    def _tls_whole(self) -> Self:
        if len({self.tls_cert is None, self.tls_key is None, self.tls_ca is None}) > 1:
            raise ValueError("MALLA_TLS_CERT, MALLA_TLS_KEY and MALLA_TLS_CA go together: set all three, or none")
        return self

    def mesh_tls(self) -> MeshTls | None:
        """Returns who this process is in the mesh; None in a plaintext mesh."""
        if self.tls_cert is None or self.tls_key is None or self.tls_ca is None:
            return None
        return MeshTls(self.tls_cert, self.tls_key, self.tls_ca, self.trust_domain)

    def mesh_secret(self) -> str:
        """Returns the mesh key, empty for none. Raises OSError where the file cannot be read."""
        key = self.mesh_key.get_secret_value()
        if not key and self.mesh_key_file is not None:
            key = self.mesh_key_file.read_text(encoding="utf-8").strip()
            hide(key)
        return key


class ServerSettings(MeshSettings):
    """Settings of every gRPC server."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=0, description="Port to listen on; 0 for a free one.")
    mesh_address: str = Field(
        default="127.0.0.1:9000", description="The mesh listener, through which other servers are called."
    )
    reuse_port: bool = Field(
        default=False, description="Listen beside another process on the same port, to take its place without a pause."
    )
    max_message_bytes: int = Field(default=8 * 1024 * 1024, description="Largest gRPC message, each way.")
    max_concurrent_rpcs: int = Field(default=1000, description="Calls in flight; more are refused with RESOURCE_EXHAUSTED.")
    drain_grace_s: float = Field(default=20.0, description="Seconds that calls may take to end after SIGTERM.")


class StoreSettings(Settings):
    """Settings of the record."""

    mongodb_uri: SecretStr = Field(
        default=SecretStr("mongodb://127.0.0.1:27017"),
        validation_alias="MONGODB_URI",
        description="Where the record is kept; may hold a password.",
    )
    mongodb_database: str = Field(default="malla", validation_alias="MONGODB_DATABASE", description="Database name.")
    mongodb_timeout_s: float = Field(
        default=5.0, validation_alias="MONGODB_TIMEOUT", description="Seconds one database operation may take."
    )
