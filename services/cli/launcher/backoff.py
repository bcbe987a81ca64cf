"""How long to wait before a process that died is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Backoff:
    """Doubles from `first_s` to `most_s`; a process that was up for `steady_s` begins at `first_s` again."""

    first_s: float = 0.1
    most_s: float = 5.0
    steady_s: float = 30.0
    _next_s: float = 0.0

    def after(self, up_s: float) -> float:
        """Returns the seconds to wait after a life of `up_s` seconds."""
        wait_s = self.first_s if up_s >= self.steady_s else max(self._next_s, self.first_s)
        self._next_s = min(wait_s * 2, self.most_s)
        return wait_s
