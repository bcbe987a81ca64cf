"""What every test relies on."""

from __future__ import annotations

import signal

# A shell starts background jobs with SIGINT ignored, and programs inherit that: Ctrl-C, which tests send, would do nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)
