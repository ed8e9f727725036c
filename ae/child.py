"""Runs a module as a child that does not outlive its parent: `python -m ae.child MODULE ARGS...`.

The parent keeps the write end of this process's stdin. When the parent ends, even by kill -9, stdin reaches
its end and this process exits at once.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

ORPHANED = 70


def main() -> None:
    """Watch stdin in a thread and become the module named by the first argument."""
    threading.Thread(target=_watch, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    main()
