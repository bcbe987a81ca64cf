"""This machine: settings, disk, ports, clock, tokens, certificates."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path

import jwt
from dotenv import dotenv_values

from common.certs import issued_in
from common.settings import REPOSITORY, MeshSettings
from services.cli.doctor.findings import Finding, Patient, failed, ok, warning
from services.cli.launcher.checks import Check, CheckKind
from services.cli.launcher.ports import is_free

_GIB = 1024**3
_LITTLE_BYTES = _GIB
_TOO_LITTLE_BYTES = _GIB // 4
_STUCK_S = 300.0
_SOON_S = 3600.0
_SKEW_S = 5.0
_EXPLAINED = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)
_OURS = ("MALLA_", "GROQ_", "MONGODB_")


async def settings(_patient: Patient) -> AsyncIterator[Finding]:
    """Names that nothing reads: they are ignored, which a typo should not be."""
    example = REPOSITORY / ".env.example"
    if not example.exists():
        return
    known = set(_EXPLAINED.findall(example.read_text(encoding="utf-8")))
    given = {*os.environ, *dotenv_values(Path(".env"))}
    strange = sorted(name for name in given if name.startswith(_OURS) and name not in known)
    for name in strange:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        advice = f"Did you mean {near[0]}?" if near else "Remove it; .env.example explains those there are."
        yield warning(f"{name} is no setting, and is ignored.", advice, setting=name)
    if not strange:
        yield ok("every name is known")


async def disk(patient: Patient) -> AsyncIterator[Finding]:
    """Room for what is stored."""
    home = next(path for path in (patient.settings.home, *patient.settings.home.parents) if path.exists())
    free = shutil.disk_usage(home).free
    said = f"{free / _GIB:.1f} GiB free in {home}"
    if free < _TOO_LITTLE_BYTES:
        yield failed(said, "Free space there, or move the data dir: what does not fit is refused.", free_bytes=free)
    elif free < _LITTLE_BYTES:
        yield warning(said, "Free space there before it is full.", free_bytes=free)
    else:
        yield ok(said, free_bytes=free)


async def outbox(patient: Patient) -> AsyncIterator[Finding]:
    """Usage that waits for the database on disk: for a moment, or for good."""
    waiting = [path.stat() for path in patient.layout.outbox.glob("*.outbox") if path.stat().st_size]
    oldest_s = max((time.time() - one.st_mtime for one in waiting), default=0.0)
    size = sum(one.st_size for one in waiting)
    if oldest_s > _STUCK_S:
        said = f"{size} bytes of usage have waited for the database for {oldest_s / 60:.0f} min"
        yield failed(said, "See `malla logs query ingestion --level WARNING`; none of it is lost.", bytes=size)
    else:
        yield ok(f"{size} bytes of usage wait for the database", bytes=size)


async def ports(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the mesh listens where it should; while it is down, whether it could."""
    if patient.client is None:
        port = patient.settings.edge_port
        if port and not is_free(port):
            yield failed(f"port {port} of the edge is taken", "Stop who has it, or give another --port; 0 is a free one.")
        else:
            yield ok(f"port {port} of the edge is free" if port else "the edge takes any free port")
        return
    listening = patient.state.ports if patient.state else {}
    numbers = {f"{name} {port}": port for name, found in listening.items() if name != "admin" for port in found}
    shut = [name for name, port in numbers.items() if await Check(kind=CheckKind.TCP, port=port).failure()]
    if shut:
        yield failed(f"nobody listens on {', '.join(shut)}", "`malla status` says which process; `malla logs` says why.")
    else:
        yield ok(f"{len(numbers)} ports listen")


async def tokens(patient: Patient) -> AsyncIterator[Finding]:
    """The token that commands use: its end, and its beginning against this clock."""
    given = patient.settings.token.get_secret_value() or (patient.state.token if patient.state else "")
    if not given:
        yield ok("no token is set: commands use that of the running mesh")
        return
    claims = jwt.decode(given, options={"verify_signature": False})
    left_s, ahead_s = claims["exp"] - time.time(), claims.get("iat", 0) - time.time()
    if ahead_s > _SKEW_S:
        yield failed(f"the token was made {ahead_s:.0f} s in the future", "Set this machine's clock, or that of the issuer.")
    elif left_s <= 0 and patient.settings.token:
        yield failed("the token of MALLA_TOKEN has expired", "Make another: malla token create --tenant T")
    elif left_s < _SOON_S and patient.settings.token:
        yield warning(f"the token of MALLA_TOKEN ends in {left_s / 60:.0f} min", "Make another: malla token create --tenant T")
    else:
        yield ok(f"the token is good for {max(0.0, left_s) / 3600:.1f} h")  # the mesh's own is made anew


async def certificates(patient: Patient) -> AsyncIterator[Finding]:
    """Certificates of a mesh that speaks TLS between its servers."""
    folder = MeshSettings().tls_cert
    found = issued_in(patient.settings.home) if folder is None else issued_in(folder.parent.parent.parent)
    now = datetime.now(UTC)
    for one in (one for one in found if one.is_due(now)):
        verdict = failed if one.expires <= now else warning
        yield verdict(f"that of {one.member} ends {one.expires:%Y-%m-%d %H:%M} UTC", "Renew it: malla certs renew --folder …")
    if not any(one.is_due(now) for one in found):
        yield ok(f"{len(found)} certificates are good" if found else "none: the servers of this mesh speak without TLS")


def skew(name: str, there: datetime, asked: Iterable[float]) -> Finding:
    """Compares another clock with ours; `asked` are our Unix times before and after it was read."""
    before, after = asked
    ahead_s = there.timestamp() - min(max(there.timestamp(), before), after)
    if abs(ahead_s) > _SKEW_S:
        word = "ahead of" if ahead_s > 0 else "behind"
        return failed(
            f"the clock of the {name} is {abs(ahead_s):.0f} s {word} ours",
            "Set both by NTP: tokens, leases and budgets go by them.",
            skew_s=round(ahead_s, 1),
        )
    return ok(f"the {name}'s agrees with ours", skew_s=round(ahead_s, 1))
