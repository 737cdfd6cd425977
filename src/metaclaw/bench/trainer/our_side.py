"""The process `python -m metaclaw.bench.trainer.our_side JOB_DIR`: our trainer, but not at the lowest priority.

The trainer steps back behind whatever else the machine does; in a comparison both sides must be treated alike.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from metaclaw.leash import die_with_parent
from metaclaw.training.trainer import train

if __name__ == "__main__":
    die_with_parent()
    train(Path(sys.argv[1]), threading.Event())
