"""A stage for real clients: a scripted model, a real `metaclaw start` before it with a skill in its library, a home.

A client runs as its user would run it, in a folder of its own, with nothing of this machine's in its environment and no
way out but to this machine. `Stage.proved` is what every one of them has to show.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState, Turn, TurnKind
from running_gateway import stored_turns
from scripted_model import ScriptedModel, scripted_model

PROMPT = "Write the proof file"
RULE = "HOUSE-RULE-7731"
SKILL = Skill("proof-file", "How to write the proof file", f"Write the proof file in one line. {RULE}")
SECRET = "ghp_" + "A1b2C3d4" * 5  # in what the tool says, so in the client's next request
PROOF = f"echo it ran > proof.txt; echo {SECRET}"
PROVIDER_KEY = "provider-key-of-the-stage-0123456789"
NATIVE = ("chat", "messages", "responses")
NO_WAY_OUT = "http://127.0.0.1:9"  # nothing listens there: whoever looks for the network is told at once
LISTENS = re.compile(r"listens on (http://[^/\s]+)")


@dataclass(frozen=True)
class Ran:
    code: int | None
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}"


@dataclass
class Stage:
    model: ScriptedModel
    url: str
    home: Path
    work: Path
    data: Path

    @property
    def token(self) -> str:
        return (self.data / "token").read_text()

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The user's: their home, no network, nothing of ours."""
        return {
            "HOME": str(self.home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "dumb",
            "HTTP_PROXY": NO_WAY_OUT, "HTTPS_PROXY": NO_WAY_OUT, "NO_PROXY": "127.0.0.1,localhost", **(more or {}),
        }

    async def metaclaw(self, *arguments: str) -> Ran:
        """`metaclaw ARGUMENTS` as the user runs it."""
        environment = self.environment({"METACLAW_DATA_DIR": str(self.data), **_ours()})
        ran = await run([sys.executable, "-m", "metaclaw", *arguments], environment, self.work, 60)
        assert ran.code == 0, ran
        return ran

    async def connect(self, client: str, *more: str) -> None:
        await self.metaclaw("connect", client, "--yes", "--url", self.url, *more)

    async def run(
        self, *command: str | Path, environment: Mapping[str, str] | None = None, seconds: float = 120
    ) -> Ran:
        """The client itself; its whole process group ends with it."""
        return await run([str(word) for word in command], self.environment(environment), self.work, seconds)

    def turns(self) -> list[Turn]:
        return stored_turns(self.data / "metaclaw.db")

    def proved(self, ran: Ran, *, main: int, proof: Path | None = None, beside: int = 0) -> None:
        """What every client shows: it ended well, its tool ran, and its conversation is one session of `main` turns.

        `beside` are its own calls beside the conversation (titles, commit messages), which must not be in that session
        as turns of it. Every turn of the conversation had the skill in it, and no secret is on the disk.
        """
        assert ran.code == 0, ran
        assert (proof or self.work / "proof.txt").read_text() == "it ran\n", ran
        turns = self.turns()
        told = "\n".join(f"{t.kind.value} {t.session} {t.status} {t.query[:60]!r}" for t in turns) + f"\n{ran}"
        assert all(turn.status == 200 and turn.complete for turn in turns), told
        conversation = [turn for turn in turns if turn.kind is TurnKind.MAIN]
        assert (len(conversation), len(turns)) == (main, main + beside), told
        assert len({turn.session for turn in conversation}) == 1, told
        assert all(turn.skills for turn in conversation), told
        asked = [one for one in self.model.asked if RULE.encode() in one.raw]
        assert len(asked) == main, told
        self.no_secret_on_disk()

    def no_secret_on_disk(self) -> None:
        """Neither ours nor the provider's, nor what a tool let slip: in no file of the data folder but the token's."""
        for path in self.data.rglob("*"):
            if path.is_file() and path.name != "token" and "connect" not in path.parts:
                content = path.read_bytes()
                for secret in (self.token, PROVIDER_KEY, SECRET):
                    assert secret.encode() not in content, f"{secret[:8]}... is in {path}"


@asynccontextmanager
async def stage(
    folder: Path, commands: Iterable[str] = (PROOF,), texts: Iterable[str] = (), formats: Sequence[str] = ("chat",)
) -> AsyncIterator[Stage]:
    """`formats` are those of which the gateway knows that the model speaks them: it translates the others."""
    home, work, data = folder / "home", folder / "work", folder / "data"
    for made in (home, work, data):
        made.mkdir()
    with Database(data / "metaclaw.db") as database:
        Catalog(database, "default", data / "skills" / "default").publish(SKILL, SkillState.ACTIVE, "test", [])
    async with scripted_model(commands, texts) as model, started(model.url, data, formats) as url:
        yield Stage(model, url, home, work, data)


@asynccontextmanager
async def started(upstream: str, data: Path, formats: Sequence[str]) -> AsyncIterator[str]:
    """A gateway in a process of its own, as `metaclaw start` makes one. Yields its address."""
    environment = {
        "HOME": str(data), "PATH": os.environ["PATH"], "METACLAW_DATA_DIR": str(data),
        "METACLAW_UPSTREAM__API_KEY": PROVIDER_KEY, "METACLAW_EVOLVE__ENABLED": "false",
        "METACLAW_TRAINING__ENABLED": "false", "METACLAW_UPSTREAM__FORMATS": json.dumps(formats), **_ours(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "metaclaw", "start", "--upstream", upstream, "--port", "0", env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    drained: asyncio.Task[bytes] | None = None
    try:
        said = ""
        async with asyncio.timeout(60):
            while not (found := LISTENS.search(said)):
                line = await process.stderr.readline()
                assert line, f"the gateway ended: {said}"
                said += line.decode()
        drained = asyncio.create_task(process.stderr.read())
        yield found[1]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30)
        if drained:
            await drained


async def run(command: list[str], environment: Mapping[str, str], folder: Path, seconds: float) -> Ran:
    """A process and its group, bounded in time; one that takes longer is killed, and says so by its exit code."""
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environment), cwd=folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds)
        return Ran(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    except TimeoutError:
        return Ran(None, "", f"still running after {seconds} s")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _ours() -> dict[str, str]:
    """Where our own source is, when it is not installed."""
    return {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
