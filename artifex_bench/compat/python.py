"""Python: calls at the end of the process.

Tested on Python 3.11 to 3.14.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable


def before_threads_stop(call: Callable[[], None]) -> None:
    """Call a function at the end of the program, while thread pools still accept work.

    `atexit` runs after the pools have stopped. This uses the hook that Python's own pools use,
    `threading._register_atexit`. Fallback without it: `atexit`.
    """
    getattr(threading, "_register_atexit", atexit.register)(call)
