"""Work that must not slow searches down."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import faiss

P = ParamSpec("P")
T = TypeVar("T")

_NICE = 10
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


class LowPriority:
    """One thread that the system lets run when others do not want to; FAISS leaves one core to them in it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="low-priority", initializer=_step_back)

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function and returns what it returns."""

        def run() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                _give_back()

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def close(self) -> None:
        """Lets the current work end and takes no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _give_back() -> None:
    # What an index of lists was made of lies in pieces between others: glibc keeps the place of a whole index for itself
    # (1 GB of a million vectors of 384 dimensions) unless it is asked for it.
    if _TRIM is not None:
        _TRIM(0)


def _step_back() -> None:
    # Both are properties of a thread: on Linux niceness is, and OpenMP takes the number of the thread that begins.
    faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
