"""What the jail holds: one interpreter, its standard library, and the shared libraries that these two load.

Everything is mounted read-only, and below `/python`, so that no traceback says where it lies on this machine; installed
packages are left out. Reads the running interpreter's layout; writes nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from metaclaw.errors import SandboxError

PYTHON = "/python"
OWN_CODE = ("jail_worker.py", "jail_locks.py")
TIME_ZONES = "/usr/share/zoneinfo"
FOR_PEOPLE = ("_curses", "_tkinter", "nis", "readline")  # extension modules that nobody in a jail needs
TRACE_SECONDS = 20.0
LINE = re.compile(r"^\s*(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
# Without site packages, from the folder of our two files: `metaclaw` is a namespace there, with nothing else in it.
BOOT = "import sys; sys.path.append('/jail'); from metaclaw.sandbox.jail_worker import main; main()"


def interpreter() -> list[str]:
    """How the worker is started, inside."""
    return [f"{PYTHON}/bin/{_binary().name}", "-I", "-S", "-B", "-X", "utf8", "-c", BOOT]


def mounts() -> list[str]:
    """bubblewrap's arguments for everything that can be read inside. SandboxError where that cannot be found out."""
    library = Path(sysconfig.get_path("stdlib"))
    inside = f"{PYTHON}/{library.relative_to(sys.base_prefix)}"
    loader, shared = shared_libraries()
    sources = {  # by where they are inside
        f"{PYTHON}/bin/{_binary().name}": str(_binary()),
        inside: str(library),
        loader: loader,
        **{f"{PYTHON}/lib/{name}": path for name, path in shared.items()},
        **{f"/jail/metaclaw/sandbox/{name}": str(Path(__file__).with_name(name)) for name in OWN_CODE},
        **({TIME_ZONES: TIME_ZONES} if Path(TIME_ZONES).is_dir() else {}),
    }
    hidden = [f"{inside}/{name}" for name in ("site-packages", "dist-packages") if (library / name).is_dir()]
    return [
        *(word for folder in _above([*sources, "/dev/null"]) for word in ("--dir", folder)),
        *(word for target, source in sources.items() for word in ("--ro-bind", source, target)),
        *(word for folder in hidden for word in ("--tmpfs", folder)),
        *("--dev-bind", "/dev/null", "/dev/null", "--setenv", "LD_LIBRARY_PATH", f"{PYTHON}/lib"),
    ]


def _above(paths: Iterable[str]) -> list[str]:
    """Every folder above them, the higher first: bubblewrap would make them too, but for their owner alone."""
    return sorted({str(folder) for path in paths for folder in PurePosixPath(path).parents} - {"/"})


def shared_libraries() -> tuple[str, dict[str, str]]:
    """The loader's path, and path by name of each shared library that the interpreter or an extension module needs.

    The loader itself tells: asked to trace (ld.so(8)), it lists what it would load, and runs nothing.
    """
    extensions = Path(sysconfig.get_path("stdlib"), "lib-dynload")
    names = sorted(path.name for path in extensions.glob("*.so") if not path.name.startswith(FOR_PEOPLE))
    said = subprocess.run(
        [str(_binary()), "-I", "-S", "-c", "pass"],
        env={"LD_TRACE_LOADED_OBJECTS": "1", "LD_PRELOAD": ":".join(f"./{name}" for name in names)},
        cwd=extensions if names else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TRACE_SECONDS,
        check=False,
    ).stdout
    found = [(match["name"], match["path"]) for match in LINE.finditer(said)]
    loaders = [path for name, path in found if name is None and "/ld" in path]
    if not loaders:
        raise SandboxError("The strong sandbox needs a dynamically linked Python on glibc; this one tells no loader.")
    return loaders[0], {name: path for name, path in found if name is not None}


def _binary() -> Path:
    """The interpreter itself, past virtual environments and links."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
