"""`metaclaw start` for a benchmark: it ends, in order, when the benchmark does, however that ends.

The benchmark holds the other end of our stdin, which the kernel closes with it. A line on it says that the gateway
shall stay, after the benchmark too.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

STAY = b"stay\n"


def main() -> None:
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    sys.argv[1:1] = ["start"]
    runpy.run_module("metaclaw", run_name="__main__")


def _end_with_stdin() -> None:
    if os.read(sys.stdin.fileno(), len(STAY)) != STAY:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
