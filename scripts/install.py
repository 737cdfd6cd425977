"""Install MetaClaw with all extras into the running interpreter, at the versions of constraints.txt.

PyTorch comes first: with it in place no other package pulls a build for hardware that is not there. Where a CPU-only
build of the pinned version cannot be found, the ordinary one is taken. Shows pip's progress.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "local,train,mcp,calendar,otel,desktop,demo,docs,dev"


def main() -> int:
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--progress-bar", "on"]
    limits = ["--constraint", str(ROOT / "constraints.txt")]
    for label, arguments in (
        ("PyTorch", ["torch==2.13.0", *limits]),
        ("MetaClaw and its extras", ["--editable", f"{ROOT}[{EXTRAS}]", *limits]),
    ):
        print(f"-- {label}", flush=True)
        if code := subprocess.call([*pip, *arguments]):
            print(f"pip could not install {label}; its message is above.", file=sys.stderr)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
