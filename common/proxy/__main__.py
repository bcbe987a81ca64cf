"""`python -m common.proxy --container > envoy.yaml`: the configuration of a container."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.proxy import ProxyConfig, Tracing, render


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a configuration to standard output and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m common.proxy", description="Writes the proxy's configuration.")
    parser.add_argument("--container", action="store_true", required=True, help="for the official image, beside its upstreams")
    parser.add_argument("--jwks", type=Path, help="file of the public keys, as the proxy sees it")
    parser.add_argument("--descriptors", type=Path, help="file of the compiled contract, as the proxy sees it")
    parser.add_argument("--cors-origin", action="append", default=[], help="an origin whose pages may call; repeatable")
    given = parser.parse_args(arguments)
    proxy = ProxyConfig.container().model_copy(update={"tracing": Tracing.configured()})
    changes = {"jwks_path": given.jwks, "descriptors_path": given.descriptors, "cors_origins": tuple(given.cors_origin)}
    sys.stdout.write(render(proxy.model_copy(update={name: value for name, value in changes.items() if value})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
