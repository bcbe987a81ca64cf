"""A channel that shows a member's certificate, and the new one once it was replaced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc

from common.mtls import FollowedFiles, Material

_LOOK_EVERY_S = 1.0


@dataclass(eq=False)
class _Opened:
    channel: grpc.aio.Channel
    calls: int = 0


class FollowingChannel(grpc.aio.Channel):
    """Opens another channel when the files have changed: gRPC keeps to the certificate that a channel was opened with.

    Calls that run stay on the channel they began on; it is closed after the last of them.

    Args:
        files: The member's.
        open_with: Opens a channel with what the files hold.
    """

    def __init__(self, files: FollowedFiles, open_with: Callable[[Material], grpc.aio.Channel]) -> None:
        self._files = files
        self._open_with = open_with
        self._now = _Opened(open_with(files.current))
        self._closing: set[asyncio.Task[None]] = set()
        self._retired: set[_Opened] = set()
        self._look_at = time.monotonic() + _LOOK_EVERY_S

    def unary_unary(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Returns the multi-callable of a method."""
        return self._following("unary_unary", method, *arguments, **more)

    def unary_stream(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Returns the multi-callable of a method."""
        return self._following("unary_stream", method, *arguments, **more)

    def stream_unary(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Returns the multi-callable of a method."""
        return self._following("stream_unary", method, *arguments, **more)

    def stream_stream(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Returns the multi-callable of a method."""
        return self._following("stream_stream", method, *arguments, **more)

    def _following(self, shape: str, *arguments: Any, **more: Any) -> Callable[..., Any]:
        def made_on(opened: _Opened) -> Callable[..., Any]:
            made: Callable[..., Any] = getattr(opened.channel, shape)(*arguments, **more)
            return made

        opened = self._now
        inner = made_on(opened)

        def call(*values: Any, **options: Any) -> Any:
            nonlocal opened, inner
            current = self._current()
            if current is not opened:
                opened, inner = current, made_on(current)
            begun = inner(*values, **options)
            current.calls += 1
            begun.add_done_callback(lambda _: self._ended(current))
            return begun

        return call

    def _current(self) -> _Opened:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            if (material := self._files.fresh()) is not None:
                old, self._now = self._now, _Opened(self._open_with(material))
                self._retired.add(old)
                self._close_unused(old)
        return self._now

    def _ended(self, opened: _Opened) -> None:
        opened.calls -= 1
        self._close_unused(opened)

    def _close_unused(self, opened: _Opened) -> None:
        if opened.calls or opened not in self._retired:
            return
        self._retired.remove(opened)
        closing = asyncio.get_running_loop().create_task(opened.channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self, grace: float | None = None) -> None:
        """Closes the channel, and those whose calls still run."""
        retired = [opened.channel for opened in self._retired]
        self._retired.clear()
        await asyncio.gather(*(channel.close(grace) for channel in (self._now.channel, *retired)), *self._closing)

    async def __aenter__(self) -> FollowingChannel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Returns the connectivity."""
        return self._now.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Waits until the connectivity is another one."""
        await self._now.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Waits until the channel is connected."""
        await self._now.channel.channel_ready()
