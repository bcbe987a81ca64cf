"""The proxy's configuration: what is routed where, and how Envoy is told.

The YAML lives in `envoy/*.yaml.j2`. A laptop and a container render the same templates from other data:

    ProxyConfig.laptop(edge_port=8080, mesh_port=9000, admin_port=9901, upstream_ports={"query": [50061, 50062], ...}, ...)
    ProxyConfig.container()

`python -m common.proxy --container > envoy.yaml` writes the second. A new service is one line of `PUBLIC` or `INTERNAL`.
"""

from common.mtls import OPERATOR, PROXY
from common.proxy._command import command
from common.proxy._config import Endpoint, ProxyConfig, ProxyTls, RateLimit, Tracing
from common.proxy._rendering import TEMPLATES, path_pattern, render
from common.proxy._routes import (
    COLLECTOR,
    GATEWAY,
    GATEWAY_PATHS,
    GATEWAY_SOCKETS,
    INTERNAL,
    MAY_CALL,
    MEMBERS,
    PUBLIC,
    SECURITY_HEADERS,
    TENANT_PATTERN,
    TIERS,
    UPSTREAMS,
    ResponseHeader,
    Service,
    Upload,
)
from common.proxy._settings import EdgeSettings

__all__ = [
    "COLLECTOR",
    "GATEWAY",
    "GATEWAY_PATHS",
    "GATEWAY_SOCKETS",
    "INTERNAL",
    "MAY_CALL",
    "MEMBERS",
    "OPERATOR",
    "PROXY",
    "PUBLIC",
    "SECURITY_HEADERS",
    "TEMPLATES",
    "TENANT_PATTERN",
    "TIERS",
    "UPSTREAMS",
    "EdgeSettings",
    "Endpoint",
    "ProxyConfig",
    "ProxyTls",
    "RateLimit",
    "ResponseHeader",
    "Service",
    "Tracing",
    "Upload",
    "command",
    "path_pattern",
    "render",
]
