"""What a server is made of is left out of the search for garbage; what its calls leave behind is not."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, weakref
from common.garbage import keep_for_good

class Loop:
    pass

before = gc.get_threshold()[0]
kept = [Loop() for _ in range(1000)]
keep_for_good()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert gc.get_threshold()[0] > before
left = Loop()
left.itself = left
gone = weakref.ref(left)
del left
assert gone() is not None
gc.collect()
assert gone() is None
"""


def test_only_what_was_there_is_left_out():
    # In a process of its own: this one shall go on to find its garbage.
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
