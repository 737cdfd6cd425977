"""A code skill made from a failure: written by the model, proved in the sandbox, published with its proof.

In: a failure of a kind that a program could mend. Out: a skill that is live (`active`, or on `trial` where doubts are
left), one that waits for a person (nothing but the model's word speaks for it), or none. What did not hold the first
time is told to the model, once. See docs/code-skills.md for what counts as proof.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.errors import SkillError
from metaclaw.evolve.admission import Overheard
from metaclaw.evolve.cases import read_cases, written
from metaclaw.evolve.code_prompt import MAX_ANSWER_TOKENS, REPAIR_SCHEMA, SCHEMA, messages_for, repair_messages_for
from metaclaw.evolve.code_proposal import Proposal, read_fields, read_proposal, read_repair
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.in_use import InUse, Say, WentWell, in_use
from metaclaw.evolve.patience import Patience
from metaclaw.evolve.proof import Baseline, Proof, Run, prove
from metaclaw.evolve.reach import reaches
from metaclaw.evolve.screen import objections
from metaclaw.evolve.standing import code_is_hearsay
from metaclaw.evolve.trials import UNCALLED
from metaclaw.evolve.verify import Ask
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.library.tool import CASES, tool_of
from metaclaw.sandbox import Sandbox
from metaclaw.types import LIVE_STATES, Skill, SkillKind, SkillState

log = logging.getLogger(__name__)

REPAIR_TEMPERATURE = 0.3  # away from the script that was wrong
MOST_SHOWN = 12  # existing tools that the model is told of
# Beginnings of words in requests and corrections where a program may know what a model only guesses.
TELLING = (
    "calcul comput convert conver format pars valid check count sum total average median percent round sort order"
    " alphabet date day week month year time hour minute second zone deadline interest tax vat price currenc unit"
    " celsius fahrenheit mile kilomet gram byte hex binary octal roman base64 encod decod escap hash csv json regex"
    " slug camel snake kebab case initial abbrev palindrome anagram prime factorial matrix vector length digit number"
    " berechn umrechn datum summe anzahl zahl fecha suma número nombre jour día"
).split()
STILL_FAILS = "its tests pass, and with it the model still fails at what it was written for"
BREAKS = "rejected: its tests pass, and with it the model fails at what went well without"
OPTION = re.compile(r"^[ \t]*\(?[A-Z][.):]\s", re.MULTILINE)
KEY = re.compile(r"\"\w+\"\s*:")
MOST_LETTERS = 200  # of a reply: a list of options is no longer
COMPUTABLE = re.compile(rf"\b(?:{'|'.join(TELLING)})", re.IGNORECASE)


class CodeLearner:
    """What the fast loop calls with a failure. Used by one task at a time."""

    def __init__(
        self, catalog: Catalog, ask: Ask, sandbox: Sandbox, redactor: Redactor, overheard: Overheard = "trial",
        say: Say | None = None,
    ) -> None:
        """Without `say`, what the model makes of a program is not asked."""
        self._catalog = catalog
        self._ask = ask
        self._say = say
        self._sandbox = sandbox
        self._redactor = redactor
        self._overheard = overheard
        self._tried: set[str] = set()
        self._patience = Patience()
        self._told = False

    async def __call__(self, failure: Failure, went_well: WentWell | None = None) -> Skill | None:
        """Have a code skill written, prove it and publish it. None where none came of it; the log says why.

        Each failed turn is tried once at most (see `patience`). Raises `UpstreamError` when the model cannot be asked.
        """
        if not computable(failure) or failure.turn.id in self._tried or self._leaves_programs_aside(failure):
            return None
        if not await self._can_run():
            return None
        self._tried.add(failure.turn.id)
        if not self._patience.is_due(failure.turn.policy):
            return None
        made = await self._written(failure, went_well)
        self._patience.went(failure.turn.policy, well=made is not None)
        return made

    async def _written(self, failure: Failure, went_well: WentWell | None) -> Skill | None:
        """The code skill that came of asking the model, twice at most."""
        there = self._catalog.all()
        tools = [skill for skill in there if skill.state in LIVE_STATES and _is_tool(skill)]
        taken = {skill.name for skill in there if skill.kind is not SkillKind.CODE}
        fields = read_fields(await self._ask(_body(failure, messages_for(failure, _shown(tools, failure)))))
        proof: Proof | None = None
        for attempt in (1, 2):
            if fields is None:
                log.info("no code for turn %s", failure.turn.id)
                break
            try:
                proposal = read_proposal(fields, failure, taken)
                proof = await _prove(proposal, tools, failure, self._sandbox.run)
                wrong: Sequence[str] = proof.wrong
            except SkillError as error:
                wrong = [str(error)]
            else:
                if not wrong:
                    used = await self._in_use(proposal, failure, went_well)
                    return self._publish(proposal, proof, failure, used)
            log.info("code for turn %s, attempt %d, does not hold: %s", failure.turn.id, attempt, "; ".join(wrong))
            if attempt == 1:
                asked = _body(failure, repair_messages_for(failure, fields, wrong), REPAIR_SCHEMA, REPAIR_TEMPERATURE)
                fields = read_repair(await self._ask(asked), fields)
        if proof is not None:
            self._catalog.record(proof.verdict)  # a rejected proposal, with its evidence
        return None

    def _leaves_programs_aside(self, failure: Failure) -> bool:
        """Whether a program that the model had for this has just ended since it was not called: the next would be so
        too. Later ones are asked for in use, on what went well by then without any.
        """
        offered = failure.turn.tools.offered if failure.turn.tools else ()
        histories = [self._catalog.changes_of(ref.rpartition("@")[0]) for ref in offered]
        return any(changes and changes[-1].reason == UNCALLED for changes in histories)

    async def _can_run(self) -> bool:
        """Whether anything here may run code; found out for the first failure that might need it."""
        missing = await self._sandbox.missing()
        if None in missing.values():
            return True
        if not self._told:
            self._told = True
            reasons = " ".join(filter(None, missing.values()))
            log.warning("No code skills are written, since nothing here may run them: %s", reasons)
        return False

    async def _in_use(self, proposal: Proposal, failure: Failure, went_well: WentWell | None) -> InUse:
        if self._say is None:
            return InUse(None, (), 0)
        well = await went_well() if went_well else ()
        return await in_use(proposal.tool, failure, well, self._say, self._sandbox.run)

    def _publish(self, proposal: Proposal, proof: Proof, failure: Failure, used: InUse) -> Skill | None:
        cases = (CASES, written(proof.kept))
        skill = dataclasses.replace(proposal.skill, files=tuple(sorted([cases, *proposal.skill.files])))
        if found := objections(skill, self._redactor):
            log.warning("code skill %s refused: %s", skill.name, "; ".join(found))
            return None
        support = [failure.turn.id]
        verdict = dataclasses.replace(proof.verdict, evidence={**proof.verdict.evidence, "in_use": used.evidence()})
        if used.broken:
            self._catalog.record(dataclasses.replace(verdict, decision=BREAKS))
            log.info("code skill %s is not taken: %s", skill.name, BREAKS)
            return None
        hearsay = code_is_hearsay(skill, failure)
        unvouched = hearsay or not failure.shown
        doubts = [*(self._doubts(skill) if hearsay else []), *([STILL_FAILS] if used.mends is False else [])]
        if not proof.of_user or doubts:
            why = f"waits for a person: {'; '.join(doubts)}" if doubts else verdict.decision
            held = self._catalog.hold(skill, why, support, unvouched=unvouched)
            self._catalog.record(dataclasses.replace(verdict, subject=f"skill:{held.ref}"))
            log.info("code skill %s waits for a person", held.ref)
            return held
        state = SkillState.TRIAL if proof.doubts or unvouched else SkillState.ACTIVE
        published, generation = self._catalog.publish(
            skill, state, verdict.decision, support, verdict, unvouched=unvouched
        )
        log.info("code skill %s is live as %s from generation %d on", published.ref, state.value, generation)
        return published

    def _doubts(self, skill: Skill) -> list[str]:
        """What stands against trying a tool that nobody vouches for."""
        live = {one.name: one for one in self._catalog.live()}.get(skill.name)
        replaces = live is not None and live.ref not in self._catalog.unvouched()
        waits = ["all that was said in a conversation waits"] if self._overheard == "approve" else []
        return [*waits, *(["would take the place of a tool that somebody vouched for"] if replaces else []),
                *reaches(skill.description)]


def computable(failure: Failure) -> bool:
    """Whether asking for code is worth a model's time: cheap, and generous, since the model may still say no."""
    if not failure.correction and failure.check is None:
        return False
    if _picks_options(failure.turn.query, failure.turn.reply):
        return False
    said = failure.correction[:2000]
    return bool(re.search(r"\d", said) or COMPUTABLE.search(f"{failure.turn.query[:2000]}\n{said}"))


def _picks_options(query: str, reply: str) -> bool:
    """Whether the request lists options by letter and the reply is nothing but letters: there is nothing to compute."""
    named = re.findall(r"\w+", KEY.sub(" ", reply[:MOST_LETTERS]))
    return len(OPTION.findall(query)) > 1 and all(len(one) == 1 and one.isupper() for one in named)


async def _prove(proposal: Proposal, tools: Sequence[Skill], failure: Failure, run: Run) -> Proof:
    """Against the earlier version, where the proposal has the name of a tool that is live."""
    earlier = next((skill for skill in tools if skill.name == proposal.skill.name), None)
    if earlier is None:
        before, settled = Baseline.failed_answer(proposal.tool, failure.turn.reply), []
    else:
        before, settled = Baseline(earlier.ref, tool_of(earlier)), read_cases(earlier)
    return await prove(
        f"{proposal.skill.name}@0", proposal.tool, proposal.cases, settled, before, failure.turn.query, run,
        proposal.doubts,
    )


def _is_tool(skill: Skill) -> bool:
    """Whether it can be called and proved against: a person may have broken it."""
    if skill.kind is not SkillKind.CODE:
        return False
    try:
        tool_of(skill)
        read_cases(skill)
    except SkillError:
        return False
    return True


def _shown(tools: Sequence[Skill], failure: Failure) -> list[tuple[Skill, bool]]:
    """Existing tools, those of the failed turn first and marked: the model may mend one."""
    marked = [(skill, skill.ref in failure.turn.skills) for skill in tools]
    return sorted(marked, key=lambda one: not one[1])[:MOST_SHOWN]


def _body(
    failure: Failure, messages: Sequence[dict[str, Any]], schema: dict[str, Any] = SCHEMA, temperature: float = 0
) -> dict[str, Any]:
    named = object_or_empty(failure.turn.request).get("model")
    return {
        **({"model": named} if isinstance(named, str) else {}),  # the one that failed; ours may be no provider's
        "messages": list(messages),
        "temperature": temperature,
        "max_tokens": MAX_ANSWER_TOKENS,
        "response_format": {
            "type": "json_schema", "json_schema": {"name": "code_skill", "strict": True, "schema": schema}
        },
    }
