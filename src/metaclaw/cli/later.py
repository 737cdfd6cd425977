"""Commands whose modules are imported when they are asked for, not when `metaclaw` starts.

In: a name, where the command is (`module:attribute`, a Typer app or a function), and its line in the help. What a
command works with (the store, numpy, every room) takes a second to import; `--version`, the help and the shell's
completion do without.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


class Later(TyperGroup):
    """Stands for a command until it is asked for."""

    def __init__(self, name: str, where: str, help_line: str) -> None:
        super().__init__(name=name, help=help_line)
        self._where = where

    def real(self) -> Any:
        """The command itself; its module is imported now."""
        module, _, attribute = self._where.partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            command: Any = get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command()(found)
            command = get_command(alone)
        command.name = self.name
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """From here on the context holds the real command, for help, completion and running alike."""
        return self.real().make_context(info_name, args, parent, **extra)


def group_of(*later: Later) -> type[TyperGroup]:
    """For `typer.Typer(cls=...)`: a group that holds these behind its own commands."""

    class WithLater(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for one in later:
                self.add_command(one)

    return WithLater


def whole(command: Any) -> Any:
    """The command, imported if that was not done yet; for whoever walks the tree of all commands."""
    return command.real() if isinstance(command, Later) else command
