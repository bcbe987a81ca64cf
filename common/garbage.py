"""Python's search for garbage in cycles, in a process that goes on for long."""

from __future__ import annotations

import gc

# Most of what a call makes goes with its last reference. Looked at after 700 objects, as is the default, much is still in use,
# and is looked at again and again as it grows old.
_YOUNG = 5000


def keep_for_good() -> None:
    """Leaves what is there now out of every later search. To be called once, when a server is complete.

    The modules alone are a hundred thousand objects: to look through them takes 40 ms and more, in which no stream goes on.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
