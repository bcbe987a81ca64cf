"""Writes docs/configuration.md from the settings classes: `python docs/generate.py`, or `--check` to fail on a difference."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

import common
import services
from common.settings import Settings
from common.tiers import TierSettings

_SETTINGS = re.compile(r"^class \w+\(.*Settings\):", re.MULTILINE)

TARGET = Path(__file__).with_name("configuration.md")

_SERVERS = "embedding, ingestion, query"

# In the order of the page: the class, its title, who reads it.
SECTIONS: dict[str, tuple[str, str]] = {
    "Settings": ("Logs", "every process"),
    "CliSettings": ("The command line", "`malla`"),
    "LlmSettings": ("Language models", "query"),
    "StoreSettings": ("The record", f"{_SERVERS}; `malla doctor`"),
    "EmbeddingSettings": ("Vectors", "embedding"),
    "QuerySettings": ("Search, answers and conversations", "query"),
    "IngestionSettings": ("Documents and jobs", "ingestion"),
    "GatewaySettings": ("WebSockets and pages", "gateway"),
    "TrackingSettings": ("Usage", _SERVERS),
    "TierSettings": ("Tiers", f"{_SERVERS}; the proxy's configuration is rendered with them"),
    "EdgeSettings": ("The edge", "the proxy's configuration is rendered with them"),
    "IssuerSettings": ("Tokens of an OpenID Connect provider", "the proxy's configuration is rendered with them"),
    "AuditSettings": ("The audit log", _SERVERS),
    "TelemetrySettings": ("Traces and metrics", "every server; the proxy's configuration is rendered with them"),
    "MeshSettings": ("Who may call a server", f"{_SERVERS}, gateway; `malla certs` and `malla doctor`"),
    "ServerSettings": ("Every gRPC server", _SERVERS),
}

# Defaults that are computed, which would differ from machine to machine.
_COMPUTED = {
    "embedding_cache_dir": "`~/.cache/malla`",
    "embedding_threads": "all cores",
    "outbox_dir": "`~/.local/state/malla/outbox`",
    "prices": "none",
    "tiers": "as below",
}

_HEAD = """\
# Every setting

Made from the settings classes by `make generate`; do not edit. Each setting is an environment variable, or a line of a file
`.env` in the working directory; the environment wins. Unknown names are ignored; a value of the wrong kind stops the process
with a message that names it. [`.env.example`](../.env.example) explains those that a user is likely to want.

`malla up` reads the environment and `.env`, and passes the environment on to every process it starts. What it decides itself
(addresses, ports, folders in its data dir, the mesh key) wins over what is set. In containers
[`docker-compose.yml`](../docker-compose.yml) decides the same.

Tables are JSON. Booleans are `true` or `false`. Names end in their unit: `_S` is seconds, `_BYTES` bytes, `_TOKENS` tokens.
"""


def _load(package: Any) -> None:
    """Imports every module of a package that is named for settings, or may define some."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__") and _defines_settings(module):
            importlib.import_module(module.name)


def _defines_settings(module: pkgutil.ModuleInfo) -> bool:
    spec = module.module_finder.find_spec(module.name, None)
    source = Path(spec.origin) if spec and spec.origin else None
    return source is not None and _SETTINGS.search(source.read_text(encoding="utf-8")) is not None


def settings_classes() -> dict[str, type[Settings]]:
    """Returns every settings class of the code by name."""
    _load(common)
    _load(services)

    def below(cls: type[Settings]) -> Iterator[type[Settings]]:
        yield cls
        for child in cls.__subclasses__():
            if child.__module__.startswith(("common.", "services.")):
                yield from below(child)

    return {cls.__name__: cls for cls in below(Settings)}


def names_of(cls: type[Settings], field: str) -> list[str]:
    """Returns the environment variables that a field is read from, the usual one first."""
    alias = cls.model_fields[field].validation_alias
    if alias is None:
        return [f"MALLA_{field.upper()}"]
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [str(choice) for choice in choices]


def own_fields(cls: type[Settings]) -> dict[str, FieldInfo]:
    """Returns the fields that a class itself defines."""
    return {name: info for name, info in cls.model_fields.items() if name in vars(cls).get("__annotations__", {})}


def _default(name: str, info: FieldInfo) -> str:
    if name in _COMPUTED:
        return _COMPUTED[name]
    if info.default_factory is not None:
        raise SystemExit(f"docs/generate.py: say in _COMPUTED what the default of {name} is, which is computed")
    value = info.default.get_secret_value() if isinstance(info.default, SecretStr) else info.default
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _section(cls: type[Settings]) -> Iterator[str]:
    title, readers = SECTIONS[cls.__name__]
    yield f"## {title}\n\nRead by: {readers}.\n"
    yield "| setting | default | what it does |\n|---|---|---|"
    for name, info in own_fields(cls).items():
        if not info.description:
            raise SystemExit(f"docs/generate.py: {cls.__name__}.{name} has no description")
        variables = ", ".join(f"`{variable}`" for variable in names_of(cls, name))
        text = info.description.replace("|", "\\|")
        yield f"| {variables} | {_default(name, info)} | {text} |"
    yield ""


def _tiers() -> Iterator[str]:
    tiers = TierSettings.model_validate({}).tiers
    yield "`MALLA_TIERS` changes single numbers of these; 0 is no limit, and days and months are those of UTC.\n"
    yield f"| limit | {' | '.join(tier.value for tier in tiers)} |\n|---|{'---|' * len(tiers)}"
    for limit in next(iter(tiers.values())).__class__.model_fields:
        if limit == "models":
            row = [", ".join(f"`{model}`" for model in of.models) for of in tiers.values()]
        else:
            row = [f"{getattr(of, limit):,}" for of in tiers.values()]
        yield f"| `{limit}` | {' | '.join(row)} |"
    yield ""


def page() -> str:
    """Returns the page as it should be. Exits where a settings class is in no section."""
    classes = settings_classes()
    # Names that only join others' fields define none.
    missing = {name for name, cls in classes.items() if own_fields(cls)} - set(SECTIONS)
    if missing:
        raise SystemExit(f"docs/generate.py: say in SECTIONS who reads {', '.join(sorted(missing))}")
    lines = [_HEAD]
    for name in SECTIONS:
        lines += _section(classes[name])
        if name == "TierSettings":
            lines += _tiers()
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Writes the page, or compares it."""
    wanted = page()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(wanted, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != wanted:
        raise SystemExit("docs/configuration.md is not what the settings say: run `make generate`")


if __name__ == "__main__":
    main()
