"""Renders the templates of `envoy/`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.proxy._config import Endpoint, ProxyConfig
from common.proxy._routes import (
    COLLECTOR,
    GATEWAY,
    GATEWAY_PATHS,
    GATEWAY_SOCKETS,
    INTERNAL,
    PUBLIC,
    SECURITY_HEADERS,
    TENANT_PATTERN,
    TIERS,
)
from common.settings import REPOSITORY

TEMPLATES = REPOSITORY / "envoy"
"""Where the templates are."""


def render(proxy: ProxyConfig) -> str:
    """Returns Envoy's bootstrap configuration as YAML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # YAML: values are written by the filter `json`, and JSON is YAML
    )
    environment.filters["json"] = partial(json.dumps, ensure_ascii=False)
    environment.globals.update(
        proxy=proxy,
        public=PUBLIC,
        internal=INTERNAL,
        collector=COLLECTOR,
        gateway=GATEWAY,
        gateway_paths=GATEWAY_PATHS,
        gateway_sockets=GATEWAY_SOCKETS,
        headers=SECURITY_HEADERS,
        tiers=TIERS,
        tenant_pattern=TENANT_PATTERN,
        address=_address,
        discovery=_discovery,
        pattern=path_pattern,
    )
    environment.globals["parts"] = environment.get_template("parts.yaml.j2").module
    text = environment.get_template("envoy.yaml.j2").render()
    return "".join(line for line in text.splitlines(keepends=True) if line.strip())


def path_pattern(path: str) -> str:
    """Returns the regular expression of a path: "/a/{b}:c" matches any one segment for "{b}"."""
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", path))


def _address(endpoint: Endpoint) -> str:
    return f"{{socket_address: {{address: {json.dumps(endpoint.host)}, port_value: {endpoint.port}}}}}"


def _discovery(replicas: Sequence[Endpoint]) -> str:
    return "STATIC" if all(replica.is_ip for replica in replicas) else "STRICT_DNS"
