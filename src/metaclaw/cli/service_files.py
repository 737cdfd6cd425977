"""The files that have the gateway started with the user's session: a systemd user unit, or a launchd agent. Pure."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "Written by `metaclaw service install`"
STOP_SECONDS = 60  # replies under way have ten, the learner forty
NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the two. The commands are run in order; `status` alone may fail, where the service does not run."""

    name: str
    file: Callable[[str, Path, Mapping[str, str]], Path]
    text: Callable[[str, Sequence[str], Path], str]
    start: Callable[[str, Path, int], list[list[str]]]
    stop: Callable[[str, Path, int], list[list[str]]]
    status: Callable[[str, int], list[str]]


def unit(name: str, command: Sequence[str], logs: Path) -> str:
    """A systemd unit. Its log is the journal's: journalctl --user -u NAME."""
    return f"""# {MARK}; `metaclaw service uninstall` removes it.
[Unit]
Description=MetaClaw, a learning gateway for LLM agents ({name})
StartLimitIntervalSec=120
StartLimitBurst=10

[Service]
Type=exec
ExecStart={' '.join(map(quoted, command))}
Restart=on-failure
RestartSec=2
TimeoutStopSec={STOP_SECONDS}
KillMode=mixed
UMask=0077

[Install]
WantedBy=default.target
"""


def agent(name: str, command: Sequence[str], logs: Path) -> str:
    """A launchd agent."""
    return plistlib.dumps({
        "Label": label(name),
        "ProgramArguments": list(command),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": STOP_SECONDS,
        "Umask": 0o077,
        "StandardErrorPath": str(logs / f"{name}.log"),
        "WrittenBy": MARK,
    }).decode()


def quoted(word: str) -> str:
    """As systemd takes a word for itself: no specifier, no variable, no split."""
    if any(ord(sign) < 32 for sign in word):
        raise ValueError(f"{word!r} holds a control character")
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return plain if re.fullmatch(r"[\w@./:=,+-]+", word) else f'"{plain}"'


def label(name: str) -> str:
    return f"local.{name}.gateway"


SYSTEMD = Kind(
    "systemd",
    lambda name, home, env: Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "systemd/user" / f"{name}.service",
    unit,
    lambda name, file, uid: [
        ["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", f"{name}.service"]
    ],
    lambda name, file, uid: [["systemctl", "--user", "disable", "--now", f"{name}.service"]],
    lambda name, uid: ["systemctl", "--user", "is-active", f"{name}.service"],
)
LAUNCHD = Kind(
    "launchd",
    lambda name, home, env: home / "Library/LaunchAgents" / f"{label(name)}.plist",
    agent,
    lambda name, file, uid: [["launchctl", "bootstrap", f"gui/{uid}", str(file)]],
    lambda name, file, uid: [["launchctl", "bootout", f"gui/{uid}/{label(name)}"]],
    lambda name, uid: ["launchctl", "print", f"gui/{uid}/{label(name)}"],
)
KINDS = {kind.name: kind for kind in (SYSTEMD, LAUNCHD)}
