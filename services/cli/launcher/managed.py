"""Keeps one process running."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence

from common.tasks import stop
from services.cli.launcher.backoff import Backoff
from services.cli.launcher.hang import Patience, until_hung
from services.cli.launcher.life import Life
from services.cli.launcher.procfs import listens
from services.cli.launcher.spec import ProcessSpec
from services.cli.launcher.state import LifeState, ProcessPhase, ProcessState

log = logging.getLogger("malla.launcher")

_EARLY_DEATHS = 3
_POLL_S = 0.05
_ON_REQUEST = "restarted on request"


class RestartError(Exception):
    """A process could not be restarted; the message says what runs now."""


class ManagedProcess:
    """Starts a process when what it needs is ready, and again, with back-off, whenever it dies or hangs.

    Args:
        spec: What it is.
        needs: Set once what it needs serves.
        on_change: Told whenever `state` has changed.
        backoff: How long to wait before it is started again.
        patience: When it is taken for hung.
        previous: What a supervisor that died had written of it. If it lives still, it goes on as it is.

    Attributes:
        state: What `malla status` shows.
        ready: Set once it has served for the first time.
        hopeless: Set when it has died too often without ever serving.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        needs: Sequence[asyncio.Event] = (),
        on_change: Callable[[], None] = lambda: None,
        backoff: Backoff | None = None,
        patience: Patience | None = None,
        previous: ProcessState | None = None,
    ) -> None:
        self.spec = spec
        self.state = ProcessState(name=spec.name, port=spec.check.port, check=spec.check, log=spec.log)
        self.ready = asyncio.Event()
        self.hopeless = asyncio.Event()
        self._needs = needs
        self._on_change = on_change
        self._backoff = backoff or Backoff()
        self._patience = patience or Patience()
        self._early_deaths = 0
        self._stopping = False
        self._asked_to_restart = False
        self._hung = ""
        self._task: asyncio.Task[None] | None = None
        self._life: Life | None = None
        self._replaced = asyncio.Event()
        self._serving = asyncio.Event()
        self._restarting = asyncio.Lock()
        self._retiring: dict[Life, asyncio.Task[None]] = {}
        self._newborn: Life | None = None
        self._adopted: Life | None = None
        if previous is not None:
            self._go_on(previous)

    def start(self) -> None:
        """Begins to keep it running, if that has not begun yet."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=self.spec.name)
            self._task.add_done_callback(self._on_end)

    async def stop(self) -> None:
        """Ends it: what `before_stop` does, SIGTERM, and after the grace SIGKILL."""
        self._stopping = True
        if self._task is None:
            return
        if self._life is not None and self.state.process is not None:
            await self._end(self._life, replaced=False)
        else:
            self._task.cancel()
        await asyncio.wait([self._task, *self._retiring.values()])
        self._show(ProcessPhase.STOPPED)

    def kill(self) -> None:
        """Ends it at once."""
        for life in (*self._retiring, self._life):
            if life is not None:
                life.send(signal.SIGKILL)

    async def restart(self) -> asyncio.Task[None]:
        """Puts a new life in the place of the running one, and returns once the new one serves.

        Where two can share the port, the new one serves before the old one begins to drain. Returns the old one's end, which
        may still be coming then.

        Raises:
            RestartError: The new one does not start.
        """
        async with self._restarting:
            await asyncio.gather(*self._retiring.values())
            if self._stopping or self._life is None or self.state.process is None:
                raise RestartError(f"The {self.spec.name} does not run: there is nothing to restart. See `malla status`.")
            if self.spec.is_shareable:
                return await self._hand_over(self._life)
            return await self._begin_anew(self._life)

    # ---- what another supervisor has left

    def _go_on(self, before: ProcessState) -> None:
        state = self.state
        state.restarts, state.last_exit, state.turn = before.restarts, before.last_exit, before.turn
        if before.process is not None and before.process.is_alive:
            self._life = self._adopted = Life.adopt(self.spec, before.turn, before.process)
            state.phase, state.process, state.started_at = before.phase, before.process, before.started_at
            if before.phase is ProcessPhase.READY:
                self._life.has_served = True
                self.ready.set()
        elif before.started_at:
            state.restarts += 1
            if before.process is not None:
                state.last_exit = "died while no supervisor watched"
        for life in before.beside:
            if life.process.is_alive:
                self._retire(Life.adopt(self.spec, life.turn, life.process))
        self._list_beside()

    # ---- the running life

    async def _keep(self) -> None:
        if self._adopted is None:
            for event in self._needs:
                await event.wait()
        while True:
            began = time.monotonic()
            await self._live()
            if self._stopping:
                return
            self._show(ProcessPhase.RESTARTING)
            if self._asked_to_restart:
                self._asked_to_restart = False
            else:
                self._count_death()
                await asyncio.sleep(self._backoff.after(time.monotonic() - began))
            self.state.restarts += 1

    async def _live(self) -> None:
        """Starts a life and returns when it has ended, or the one that replaced it."""
        try:
            life = self._begun()
        except OSError as error:
            self.state.last_exit = f"cannot be started: {error.strerror}"
            return
        while True:
            watching = asyncio.create_task(self._watch(life))
            replaced = asyncio.create_task(self._replaced.wait())
            try:
                await asyncio.wait([life.over, replaced], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await stop([watching, replaced])
            if self._life is life:
                break
            self._replaced.clear()
            life = self._life or life
        self.state.process = None
        if not self._asked_to_restart:
            self.state.last_exit = f"{life.over.result()}{self._hung}"

    def _begun(self) -> Life:
        if self._adopted is not None:
            life, self._adopted = self._adopted, None
            return life
        life = Life.begin(self.spec, self.state.turn)
        self._serving.clear()
        self._set(life)
        self._show(ProcessPhase.STARTING)
        return life

    def _set(self, life: Life) -> None:
        self._life = life
        self._hung = ""
        self.state.process = life.process
        self.state.turn = life.turn
        self.state.started_at = time.time()

    async def _watch(self, life: Life) -> None:
        """Says when it serves; then kills it when it hangs. SIGKILL: one that hangs hears nothing else."""
        if not life.has_served:
            await self.spec.check.wait()
            life.has_served = True
            self._show(ProcessPhase.READY)
            self.ready.set()
        self._serving.set()
        why = await until_hung(self.spec.check, self._patience)
        if not self._stopping and not self._asked_to_restart:
            self._hung = f": it hung ({why} for {self._patience.for_s:g} s)"
            log.warning("hangs", extra={"process_name": self.spec.name, "reason": why})
            life.send(signal.SIGKILL)

    # ---- a life that follows

    async def _hand_over(self, old: Life) -> asyncio.Task[None]:
        new = await self._beside(old)
        self._newborn = None
        if self._life is not old or old.is_over:
            new.send(signal.SIGKILL)
            self._tell_beside()
            raise RestartError(f"The {self.spec.name} died meanwhile, and was started again anyway.")
        self._set(new)
        self.state.restarts += 1
        self.state.last_exit = _ON_REQUEST
        self._replaced.set()
        retiring = self._retire(old)
        self._tell_beside()  # at once: a supervisor that comes after us must end the right one
        return retiring

    def _retire(self, old: Life) -> asyncio.Task[None]:
        retiring = asyncio.create_task(self._end(old, replaced=True), name=f"{self.spec.name} retires")
        self._retiring[old] = retiring
        retiring.add_done_callback(lambda _task: self._retired(old))
        return retiring

    def _retired(self, old: Life) -> None:
        del self._retiring[old]
        self._tell_beside()

    async def _beside(self, old: Life) -> Life:
        """Starts a life beside another, and returns it once it listens. Raises RestartError."""
        try:
            self._newborn = new = Life.begin(self.spec, old.turn + 1)
        except OSError as error:
            raise RestartError(f"The new {self.spec.name} cannot be started: {error.strerror}. The old one goes on.") from None
        self._tell_beside()
        until = time.monotonic() + self.spec.start_timeout_s
        try:
            # Not the check: on a shared port the old one might answer.
            while new.process is not None and not listens(new.process.pid, self.spec.check.port):
                if time.monotonic() > until:
                    break
                if await new.wait(_POLL_S):
                    raise RestartError(self._not_started(new.over.result()))
            else:
                return new
            raise RestartError(self._not_started("not ready in time"))
        except BaseException:
            new.send(signal.SIGKILL)
            self._newborn = None
            self._tell_beside()
            raise

    def _not_started(self, why: str) -> str:
        return f"The new {self.spec.name} does not start ({why}); the old one goes on. Its log: {self.spec.log}"

    async def _begin_anew(self, old: Life) -> asyncio.Task[None]:
        self._asked_to_restart = True
        self._serving.clear()
        self.state.last_exit = _ON_REQUEST
        await self._end(old, replaced=False)
        try:
            async with asyncio.timeout(self.spec.start_timeout_s):
                await self._serving.wait()
        except TimeoutError:
            raise RestartError(f"The {self.spec.name} does not come back. Its log: {self.spec.log}") from None
        return asyncio.create_task(asyncio.sleep(0))  # the old one has ended already

    async def _end(self, life: Life, *, replaced: bool) -> None:
        """Lets a life end: what its `before_stop` does, SIGTERM, and after the grace SIGKILL."""
        drain = life.variant.before_stop
        if drain is not None and (replaced or self.ready.is_set()):
            ending = asyncio.ensure_future(drain(replaced))
            await asyncio.wait([ending, life.over], return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
        life.send(signal.SIGTERM)
        if not await life.wait(self.spec.grace_s):
            log.warning("killed after its grace", extra={"process_name": self.spec.name})
            life.send(signal.SIGKILL)
            await life.wait()

    # ---- what is told

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("cannot be kept running", exc_info=error, extra={"process_name": self.spec.name})
            self.state.last_exit = "cannot be kept running"
            self.hopeless.set()

    def _count_death(self) -> None:
        log.warning("died", extra={"process_name": self.spec.name, "reason": self.state.last_exit})
        if not self.ready.is_set():
            self._early_deaths += 1
            if self._early_deaths >= _EARLY_DEATHS:
                self.hopeless.set()

    def _tell_beside(self) -> None:
        self._list_beside()
        self._on_change()

    def _list_beside(self) -> None:
        lives = [*self._retiring, *([self._newborn] if self._newborn is not None else [])]
        self.state.beside = [LifeState(process=life.process, turn=life.turn) for life in lives if life.process is not None]

    def _show(self, phase: ProcessPhase) -> None:
        self.state.phase = phase
        log.info(phase.value, extra={"process_name": self.spec.name, "restarts": self.state.restarts})
        self._on_change()
