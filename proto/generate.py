"""Generates `generated/` from the protos: messages, type stubs, gRPC stubs and the descriptor set.

Run: python proto/generate.py          writes generated/
     python proto/generate.py --check  exits 1 and lists the files that are stale
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
GENERATED = PROTO.parent / "generated"
DESCRIPTORS = "malla.binpb"
INCLUDES = (
    PROTO,
    PROTO / "third_party/googleapis",
    PROTO / "third_party/protovalidate",
    Path(grpc_tools.__file__).parent / "_proto",
)
# googleapis-common-protos ships google/*_pb2; protovalidate ships no *_pb2 for its own schema, so that one is generated too.
THIRD_PARTY = ("buf/validate/validate.proto",)
# Types that travel inside google.protobuf.Any must be in the descriptor set, or the proxy prints an empty body.
ANY_TYPES = ("google/rpc/status.proto", "google/rpc/error_details.proto")


def generate(target: Path) -> None:
    """Writes everything under `target`. Raises RuntimeError when protoc fails."""
    own = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("malla/**/*.proto"))
    with_services = [name for name in own if "\nservice " in (PROTO / name).read_text()]
    _protoc(f"--python_out={target}", f"--pyi_out={target}", *own, *THIRD_PARTY)
    _protoc(f"--grpc_python_out={target}", f"--mypy_grpc_out={target}", *with_services)
    _protoc(
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={target / DESCRIPTORS}",
        *own,
        *ANY_TYPES,
    )


def _protoc(*arguments: str) -> None:
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    includes = [f"-I{path}" for path in INCLUDES]
    command = ["protoc", f"--plugin=protoc-gen-mypy_grpc={plugin}", *includes, *arguments]
    if protoc.main(command) != 0:
        raise RuntimeError(f"protoc failed: {' '.join(arguments)}")


def stale_files() -> list[str]:
    """Names the files of `generated/` that differ from what the protos give now."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        names = {_relative(fresh, path) for path in fresh.rglob("*") if path.is_file()}
        kept = {_relative(GENERATED, p) for p in GENERATED.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
        return sorted(name for name in names | kept if not _same(fresh / name, GENERATED / name))


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _same(fresh: Path, kept: Path) -> bool:
    return fresh.exists() and kept.exists() and filecmp.cmp(fresh, kept, shallow=False)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        stale = stale_files()
        if stale:
            print("generated/ is stale; run `make generate`:", *stale, sep="\n  ")
        return 1 if stale else 0
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    generate(GENERATED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
