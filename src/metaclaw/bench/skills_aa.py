"""A/A: 1,000 skills that change nothing. How many does the verification admit, how many does the hold-out call helpful?

The model is a coin: it is right with a chance that no null skill changes. `verification` replays through the real
`Replays`. `live` goes the whole way: coins of the hold-out, turns in the journal, signals, tries, the curator, with a
look after each 50 sessions. `long run` is the test alone over 2,000 tries, looked at 40 times. The same with a true
lift of 20 points tells the power.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from metaclaw.bench import results
from metaclaw.bench.results import Arm, Check
from metaclaw.context.compose import OPENING
from metaclaw.context.embed import StaticEmbedder
from metaclaw.context.holdout import draw
from metaclaw.evolve.curate import Curator
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.verify import Replays
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.signals.lift import GRID, HELPS_E, Lift, Try, lift_of
from metaclaw.store import Connection, Database
from metaclaw.types import Check as ReplyCheck
from metaclaw.types import Skill, SkillState, Turn, TurnKind

NAMESPACE = "aa"
CANDIDATES, LIFT = 1_000, 0.2
CHANCES = (0.1, 0.3, 0.5, 0.7)  # of being right without a skill
BODIES = ("-", "The sky is blue, and grass is green.", "Bread is baked in an oven.")
SKILL_TOKENS = 800

LIVE_SESSIONS, LOOK_EACH, LIVE_SHARE, TOGETHER = 200, 50, 0.2, 20
LONG_TRIES, LOOKS = 2_000, 40
SHARES = (0.05, 0.2, 0.5)
POWER_SKILLS, POWER_TRIES = 200, 6_000


class Coin:
    """A model that is right by chance, more often with a skill in its prompt where there is a `lift`."""

    def __init__(self, chance: float, lift: float, source: random.Random) -> None:
        self._chance, self._lift, self._source = chance, lift, source

    async def __call__(self, body: dict[str, Any]) -> str:
        told = any(OPENING in str(message["content"]) for message in body["messages"])
        return "right" if self._source.random() < self._chance + self._lift * told else "wrong"


async def admitted(n: int, lift: float, seed: int) -> list[bool]:
    """Of `n` candidates, which the verification admits; each has one to four requests that can be scored."""
    source = random.Random(seed)
    found = []
    for number in range(n):
        cases = [_failure(f"{number}-{case}") for case in range(1 + number % 4)]
        replays = Replays(cases, (), Coin(CHANCES[number % len(CHANCES)], lift, source), SKILL_TOKENS)
        compared = await replays.compare(_skill(number))
        found.append(compared is not None and compared.admitted)
    return found


async def live(seed: int) -> dict[str, list[bool]]:
    """Of the null skills on trial, which the curator ever called helpful or retired."""
    source = random.Random(seed)
    with _library() as (database, catalog):
        skills = [catalog.publish(_skill(i), SkillState.TRIAL, "null", [])[0] for i in range(CANDIDATES)]
        groups = [skills[start : start + TOGETHER] for start in range(0, len(skills), TOGETHER)]
        curator = Curator(database, catalog, StaticEmbedder().embed, 1.0, now=lambda: 1e12)
        recorder = Recorder(database, Redactor(), durable_timeout_seconds=600)
        for start in range(0, LIVE_SESSIONS, LOOK_EACH):
            turns = [
                _turn(group, number, session)
                for number, group in enumerate(groups) for session in range(start, start + LOOK_EACH)
            ]  # fmt: skip
            await asyncio.gather(*(recorder.turn(turn) for turn in turns))
            fails = [turn.id for turn in turns if source.random() >= CHANCES[int(turn.policy) % len(CHANCES)]]
            _fail(database, fails)
            curator.round()
        pasts = [" ".join(change[4] for change in catalog.history(skill.name)) for skill in skills]
        return {"helpful": ["helps:" in past for past in pasts], "retired": ["ful:" in past for past in pasts]}


def long_run(n: int, tries: int, share: float, chances: tuple[float, float], seed: int) -> Iterator[list[Lift]]:
    """For each of `n` skills, the evidence at each look. `chances` of failing: without and with the skill."""
    source = random.Random(seed)
    for _ in range(n):
        made = []
        for _ in range(tries):
            withheld = source.random() < share
            made.append(Try(share, withheld, source.random() < chances[not withheld]))
        whole = lift_of(made)  # a payoff depends on earlier tries alone: a look sees the beginning of the whole
        step = max(1, tries // LOOKS)
        yield [_beginning(whole, end) for end in range(step, tries + 1, step)]


def tries_needed(runs: Sequence[Sequence[Lift]], power: float) -> int | None:
    """After how many tries that share of the skills had been called helpful; None: never."""
    firsts = sorted(next((look.n for look in run if look.helps), 10**9) for run in runs)
    at = firsts[int(power * len(firsts)) - 1]
    return at if at < 10**9 else None


def main(seed: int, folder: Path) -> None:
    logging.disable(logging.WARNING)  # a thousand skills have much to say
    checked = asyncio.run(admitted(CANDIDATES, 0.0, seed))
    lifted = asyncio.run(admitted(CANDIDATES, LIFT, seed + 1))
    went_live = asyncio.run(live(seed))
    arms: dict[str, Arm] = {
        "placebo: verification": results.share("admitted", checked),
        "lift of 20 points: verification": results.share("admitted, at most 8 pairs", lifted),
        "placebo: live": results.share(f"called helpful, {LIVE_SESSIONS} tries", went_live["helpful"]),
        "placebo: live, retired": results.share("retired as harmful or useless", went_live["retired"]),
    }
    wrong, needed = [*went_live["helpful"]], {}
    for share in SHARES:
        runs = list(long_run(CANDIDATES, LONG_TRIES, share, (0.3, 0.3), seed))
        helped = [any(look.helps for look in run) for run in runs]
        missed = [any(_excludes(look, 0.0) for look in run) for run in runs]
        arms[f"placebo: long run, share {share}"] = results.share(f"ever called helpful in {LONG_TRIES} tries", helped)
        arms[f"placebo: interval, share {share}"] = results.share("interval ever without the true lift", missed)
        wrong = max(wrong, helped, key=lambda found: sum(found) / len(found))
        powered = list(long_run(POWER_SKILLS, POWER_TRIES, share, (0.5, 0.3), seed))
        needed[str(share)] = {f"{power:.0%}": tries_needed(powered, power) for power in (0.5, 0.8)}
        helped = [any(look.helps for look in run if look.n <= LONG_TRIES) for run in powered]
        arms[f"lift of 20 points: long run, share {share}"] = results.share(f"helpful in {LONG_TRIES} tries", helped)
    rate, ever = sum(checked) / len(checked), sum(wrong) / len(wrong)
    stated = needed[str(SHARES[0])]["80%"]
    checks = {
        "null_admitted": Check(rate, "at most 0.05", rate <= 0.05),
        "null_called_helpful": Check(ever, "at most 0.01", ever <= 0.01),
        "tries_for_80_percent_power_at_20_points": Check(stated, "stated", stated is not None),
    }
    extra = {
        "tries_needed": {"failures": "50 % without, 30 % with the skill", "by share and power": needed},
        "e_value_for_helpful": HELPS_E, "grid_step": round(float(GRID[1] - GRID[0]), 4),
    }
    path = results.write(
        folder, "skills-aa", f"metaclaw bench skills-aa --seed {seed}", "a coin", [seed], arms, checks, extra
    )
    print(path.read_text(encoding="utf-8"))


def _excludes(look: Lift, lift: float) -> bool:
    return max(look.e_above(lift), look.e_below(lift)) >= 40


def _beginning(whole: Lift, end: int) -> Lift:
    """The same lift after `end` tries; its arms' counts are those of the whole, and not looked at here."""
    return dataclasses.replace(
        whole, payoffs=whole.payoffs[:end], worst=whole.worst[:end], best=whole.best[:end]
    )


def _skill(number: int) -> Skill:
    return Skill(f"null-{number}", "Use for everything.", BODIES[number % len(BODIES)])


def _failure(name: str) -> Failure:
    return Failure(_asked(f"case-{name}", "script", ()), "", ReplyCheck("right"))


def _turn(group: Sequence[Skill], number: int, session: int) -> Turn:
    """A session's one turn. Its policy is the group's number: each group has its own model and evidence."""
    drawn = draw(group, (), LIVE_SHARE, f"{NAMESPACE}\0{number}-{session}", 0)
    turn = _asked(f"turn-{number}-{session}", str(number), drawn.drawn)
    return dataclasses.replace(turn, withheld=drawn.withheld, holdout_share=drawn.share)


def _asked(name: str, policy: str, drawn: tuple[str, ...]) -> Turn:
    body = json.dumps({"model": "coin", "messages": [{"role": "user", "content": f"Task {name}"}]}).encode()
    return Turn(
        id=name, namespace=NAMESPACE, session=name, kind=TurnKind.MAIN, dialect="chat", request=body, response=b"{}",
        query=f"Task {name}", reply="wrong", status=200, complete=True, skills=drawn, injected="", generation=0,
        policy=policy, usage={}, timings={}, created_at=1.0, drawn=drawn,
    )


def _fail(database: Database, turn_ids: Sequence[str]) -> None:
    def work(connection: Connection) -> None:
        connection.executemany(
            "INSERT INTO signals (namespace, turn_id, source, value, reason, evidence, created_at)"
            " VALUES (?, ?, 'check', -1, 'the coin', '', 0)",
            [(NAMESPACE, turn) for turn in turn_ids],
        )

    database.write(work)


@contextmanager
def _library() -> Iterator[tuple[Database, Catalog]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metaclaw-aa-")))
        database = stack.enter_context(Database(folder / "metaclaw.db"))
        yield database, Catalog(database, NAMESPACE, folder / "skills")
