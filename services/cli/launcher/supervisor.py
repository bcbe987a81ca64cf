"""Starts a mesh, keeps it running, stops it."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from common.context import Tier
from common.tasks import stop
from services.cli.launcher.checks import HOST, Check, CheckKind
from services.cli.launcher.command_socket import Message, answering
from services.cli.launcher.guardian import guardian_command
from services.cli.launcher.hang import Patience
from services.cli.launcher.managed import ManagedProcess, RestartError
from services.cli.launcher.options import LaunchOptions
from services.cli.launcher.plan import PROXY, Plan
from services.cli.launcher.procfs import Process, ourselves
from services.cli.launcher.rolling import restart_rolling
from services.cli.launcher.rotate import LogBounds, LogRotation
from services.cli.launcher.spec import ProcessSpec
from services.cli.launcher.state import (
    GUARDIAN,
    SUPERVISOR,
    MeshPhase,
    MeshState,
    ProcessPhase,
    ProcessState,
    write_state,
)

log = logging.getLogger("malla.launcher")

FIRST_TENANT = "default"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TOKEN_TTL = timedelta(hours=24)


class StartError(Exception):
    """The mesh does not come up.

    Attributes:
        log_path: Where to read why.
    """

    def __init__(self, message: str, log_path: Path) -> None:
        super().__init__(message)
        self.log_path = log_path


class Supervisor:
    """One mesh.

    Args:
        options: What was asked for.
        plan: What it consists of.
        previous: What was written by a supervisor that died: what of it lives goes on. None for a first start.
        guardian_pid: The guardian that brought us back; None for a first start.
        lifeline: The lifeline that we hold, which the guardian is to hold as well.
    """

    def __init__(
        self,
        options: LaunchOptions,
        plan: Plan,
        *,
        previous: MeshState | None = None,
        guardian_pid: int | None = None,
        lifeline: int | None = None,
    ) -> None:
        self._options = options
        self._plan = plan
        self._previous = previous
        self._guardian_pid = guardian_pid
        self._itself = ourselves()
        self._stop = asyncio.Event()
        self._processes: dict[str, ManagedProcess] = {}
        for spec in plan.specs():
            needs = [self._processes[name].ready for name in spec.needs]
            self._processes[spec.name] = ManagedProcess(
                spec,
                needs=needs,
                on_change=self._write,
                patience=Patience(for_s=plan.settings.hung_after_s),
                previous=previous.process(spec.name) if previous else None,
            )
        self._one_at_a_time = asyncio.Lock()
        self._guardian = self._make_guardian(lifeline) if options.guarded else None
        self.state = self._first_state()
        if previous is not None and previous.phase is MeshPhase.STOPPING:
            self.request_stop()  # what our predecessor was about to do

    async def run(self, on_ready: Callable[[MeshState], None]) -> None:
        """Runs the mesh until SIGTERM or SIGINT, and leaves no process. Raises StartError if it does not come up."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.request_stop)
        rotating = asyncio.create_task(self._rotation().run(), name="log rotation")
        try:
            if self._guardian_pid is not None:
                self._start_guardian()
            await self._start()
            if not self._stop.is_set():
                self._start_guardian()
                self._enter(MeshPhase.READY)
                on_ready(self.state)
            async with answering(self._plan.layout.data_dir, self._answer):
                await self._stop.wait()
        finally:
            await stop([rotating])
            await self._stop_all()
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def request_stop(self) -> None:
        """Lets calls end and stops everything; asked a second time, kills everything."""
        if self._stop.is_set():  # what was acknowledged survives this as well
            for process in self._processes.values():
                process.kill()
        self._stop.set()

    async def _answer(self, asked: Message) -> AsyncIterator[Message]:
        """Does what a command asks for, and tells of it. The last message has `done` or `error`."""
        try:
            async with self._one_at_a_time:
                async for name, news in restart_rolling(self._processes, asked["restart"]):
                    yield {"process": name, "news": news}
        except RestartError as error:
            yield {"error": str(error)}
        else:
            yield {"done": True}

    def _rotation(self) -> LogRotation:
        layout, settings = self._plan.layout, self._plan.settings
        of_proxy = (layout.log("access"), layout.audit / "edge.jsonl")
        bounds = LogBounds(settings.log_bytes, settings.log_files)
        # While one proxy drains beside another, both write.
        return LogRotation(layout.logs, of_proxy, bounds, lambda: (f"{HOST}:{port}" for port in self._plan.ports["admin"]))

    async def _start(self) -> None:
        before = self._previous
        is_up = before is not None and before.phase is MeshPhase.READY and before.has_survivors
        self._enter(MeshPhase.READY if is_up else MeshPhase.STARTING)  # even if a part of it has to be started again
        for process in self._processes.values():
            process.start()
        # Brought back by a guardian, a mesh is never given up: it was up before.
        first_start = self._guardian_pid is None
        await self._any_of(
            _all(process.ready for process in self._processes.values()),
            self._stop.wait(),
            *(process.hopeless.wait() for process in self._processes.values() if first_start),
            timeout_s=self._plan.settings.start_timeout_s if first_start else None,
        )
        self._raise_unless_started()

    @staticmethod
    async def _any_of(*conditions: Coroutine[Any, Any, object], timeout_s: float | None) -> None:
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(condition) for condition in conditions]
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _raise_unless_started(self) -> None:
        if self._stop.is_set():
            return
        late = [process for process in self._processes.values() if not process.ready.is_set()]
        for process in sorted(late, key=lambda late_one: not late_one.hopeless.is_set()):
            why = process.state.last_exit or "not ready in time"
            raise StartError(f"The {process.spec.name} does not start ({why}). Its log: {process.spec.log}", process.spec.log)

    async def _stop_all(self) -> None:
        self._enter(MeshPhase.STOPPING)
        if self._guardian is not None:
            await self._guardian.stop()
        stops: dict[str, asyncio.Task[None]] = {}
        for name in reversed(self._processes):  # whatever needs it comes later, and so is already in `stops`
            dependents = [stops[other] for other in stops if name in self._processes[other].spec.needs]
            stops[name] = asyncio.create_task(_after(dependents, self._processes[name]))
        await asyncio.gather(*stops.values())
        self.state.token = ""
        self._enter(MeshPhase.STOPPED)

    def _start_guardian(self) -> None:
        if self._guardian is not None:
            self._guardian.start()

    def _make_guardian(self, lifeline: int | None) -> ManagedProcess:
        spec = ProcessSpec(
            name=GUARDIAN,
            command=tuple(guardian_command(self._options, self._itself)),
            log=self._plan.layout.log(GUARDIAN),
            check=Check(kind=CheckKind.PROCESS),
            grace_s=5.0,
            inherits=() if lifeline is None else (lifeline,),
        )
        return ManagedProcess(spec, on_change=self._write, previous=self._guardian_before(spec))

    def _guardian_before(self, spec: ProcessSpec) -> ProcessState | None:
        if self._guardian_pid is None:
            return None
        known = self._previous.process(GUARDIAN) if self._previous else None
        row = known or ProcessState(name=GUARDIAN, check=spec.check, log=spec.log, started_at=time.time())
        return row.model_copy(update={"phase": ProcessPhase.READY, "process": Process.of(self._guardian_pid)})

    def _first_state(self) -> MeshState:
        plan = self._plan
        return MeshState(
            data_dir=plan.layout.data_dir,
            logs=plan.layout.logs,
            edge_url=f"http://{HOST}:{plan.port('edge')}",
            mesh_address=f"{HOST}:{plan.port('mesh')}",
            admin_address=self._admin_address(),
            mongodb_uri=plan.shown_mongodb_uri,
            token=plan.keys.issue(tenant=FIRST_TENANT, tier=Tier.ENTERPRISE, ttl=_TOKEN_TTL),
            ports=plan.ports,
            processes=[self._own_state(), *(process.state for process in self._managed())],
        )

    def _own_state(self) -> ProcessState:
        before = self._previous.process(SUPERVISOR) if self._previous else None
        return ProcessState(
            name=SUPERVISOR,
            phase=ProcessPhase.READY,
            process=self._itself,
            check=Check(kind=CheckKind.PROCESS),
            restarts=before.restarts + 1 if before else 0,
            last_exit="died, and was brought back by the guardian" if before else "",
            started_at=time.time(),
            log=self._plan.layout.log(SUPERVISOR),
        )

    def _managed(self) -> list[ManagedProcess]:
        return [*([self._guardian] if self._guardian else []), *self._processes.values()]

    def _enter(self, phase: MeshPhase) -> None:
        log.info(phase.value, extra={"mesh": str(self._plan.layout.data_dir)})
        self.state.phase = phase
        self._write()

    def _admin_address(self) -> str:
        ports = self._plan.ports["admin"]
        turn = self._processes[PROXY].state.turn if PROXY in self._processes else 0
        return f"{HOST}:{ports[turn % len(ports)]}"

    def _write(self) -> None:
        self.state.admin_address = self._admin_address()
        try:
            write_state(self.state)
        except OSError as error:  # a full disk, or the data dir removed under us; the mesh itself goes on
            log.warning("cannot write down the state", extra={"reason": error.strerror})


async def _all(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


async def _after(others: list[asyncio.Task[None]], process: ManagedProcess) -> None:
    if others:
        await asyncio.wait(others)
    await process.stop()
