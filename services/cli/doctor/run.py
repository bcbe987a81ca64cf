"""The checks, and going through them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from common.errors import MallaError
from common.settings import wrong_setting
from services.cli.doctor import machine, model, parts
from services.cli.doctor.findings import Check, Finding, Outcome, Patient, failed

CHECKS = (
    Check("settings", machine.settings, needs_mesh=False),
    Check("disk", machine.disk, needs_mesh=False),
    Check("ports", machine.ports, needs_mesh=False),
    Check("token", machine.tokens, needs_mesh=False),
    Check("certificates", machine.certificates, needs_mesh=False),
    Check("outbox", machine.outbox, needs_mesh=False),
    Check("processes", parts.processes),
    Check("proxy", parts.proxy),
    Check("clock", parts.clock),
    Check("database", parts.database),
    Check("embedding", parts.embedding),
    Check("models", parts.models),
    Check("indexes", parts.indexes),
    Check("key", model.key),
    Check("provider", model.provider, asks_model=True),
    Check("conversation", model.conversation, asks_model=True),
)
"""What is looked at, in an order in which the cause comes before its effects."""


async def examine(patient: Patient, *, spend: bool = True) -> AsyncIterator[tuple[str, Finding]]:
    """Yields what each check finds. One that fails in an unforeseen way is a finding, and stops no other.

    Args:
        patient: What is looked at.
        spend: Whether to do what costs tokens of the model.
    """
    if patient.client is None:
        home = patient.settings.home
        yield "mesh", Finding(Outcome.FAILED, f"no mesh runs in {home}", f"Start it: malla up --data-dir {home} --detach")
    for check in CHECKS:
        if (check.needs_mesh and patient.client is None) or (check.asks_model and not spend):
            continue
        try:
            async for finding in check.look(patient):
                yield check.name, finding
        except MallaError as error:
            yield check.name, failed(error.message, "See `malla logs --level WARNING`.")
        except Exception as error:  # noqa: BLE001  # whatever is broken here must not hide what the others find
            if setting := wrong_setting(error):
                yield check.name, failed(setting, "Correct it in the environment or in .env; .env.example explains each one.")
            else:
                yield check.name, failed(f"cannot be checked: {type(error).__name__}", "See `malla status` and `malla logs`.")
