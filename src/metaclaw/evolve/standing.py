"""Does anybody vouch for the words of a proposed skill? Pure.

In: a failure, a skill, and what its author had read. Out: whether it is hearsay, and what the gate says of it then. The
holder of the gateway's token answers for feedback, as far as it speaks of the reply and nothing tells that it is passed
on (`secondhand`); evidence alone makes a skill of it active where it shows the right answer (`Failure.shown`). What was
said in a conversation may be passed on: a skill that was made of it is tried only where it speaks of the reply alone
(`reach`), and is never active by evidence alone. A model's words are vouched for only where they take no name, no
effect and hardly a word (`MOST_TAKEN`) from what others wrote and the user did not say: a page, a tool's result, the
failed reply; and no run of words from what may be a request's material. So none of them gets into a proved skill by way
of a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from metaclaw.evolve.by_model import Edit, Evidence
from metaclaw.evolve.example import example_of
from metaclaw.evolve.extractive import body_for
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.parts import ANSWER
from metaclaw.evolve.quoting import asked
from metaclaw.evolve.reach import NOT_MENDED_BY_A_NO, effects, reaches
from metaclaw.evolve.screen import Outcome, Ruling, runs_of
from metaclaw.evolve.telling import telling
from metaclaw.signals.sequel import conversation_of
from metaclaw.signals.tools import results_in
from metaclaw.types import Skill

ON_TRIAL = "the user's own words, on trial"
UNSHOWN = f"{ON_TRIAL}: active once approved, posted with the right answer, or said in three sessions"
REACHES = f"{ON_TRIAL}: active once approved, since they speak of more than the reply"
HEARD = "the user's own words in a conversation, on trial: active once approved, or said in three sessions"
POSTED = "posted, but it {}: on trial, active once approved, or posted in words that are plainly the user's own"
OVERHEARD = "was said in a conversation, and"
MOST_TAKEN = 2  # ordinary words of others that a model may use: a failed reply speaks of the request's own matter
NAME_LIKE = re.compile(r"[^\W_]*[A-Z\d][^\W_]*")  # has a capital or a digit, at the head of a sentence too
PUTS_FORWARD = "recommends"


def is_vouched_for(failure: Failure) -> bool:
    """Whether evidence alone may make a skill of these words active: they are feedback, and reach no further than the
    reply. Feedback that does is used, but may pass on what somebody wrote all the same. A right answer that it shows
    acts by no words of its own (`product launch: done`); an address or a command in it leads as far as anywhere.
    """
    own = failure.words.own
    if not failure.vouched or not own:
        return failure.vouched
    return not (set(reaches(own)) - _acts(own) | _acts(ANSWER.sub(" ", own)))


def _acts(words: str) -> set[str]:
    """The effects in the world that it speaks of: whom it names or puts forward is none."""
    return {one for one in effects(words) if not one.startswith(NOT_MENDED_BY_A_NO)}


def why_on_trial(failure: Failure, *, vouched: bool) -> str:
    """What keeps a rule in its user's words on trial, as its history tells it."""
    if vouched:
        return ON_TRIAL if failure.shown else UNSHOWN
    if failure.vouched:
        return REACHES
    return POSTED.format(failure.doubt) if failure.doubt else HEARD


def on_hearsay(ruling: Ruling, rule: str, doubt: str = "") -> Ruling:
    """The gate's word on a skill that nobody vouches for: what reaches beyond the reply waits for a person.

    `doubt` says why nobody vouches for posted words.
    """
    if ruling.outcome is not Outcome.ACCEPT or not (found := reaches(rule)):
        return ruling
    whose = f"{doubt}, and" if doubt else OVERHEARD
    return Ruling(Outcome.QUARANTINE, tuple(f"{whose} {one}" for one in found))


def on_feedback(ruling: Ruling, rule: str) -> Ruling:
    """The same for feedback: what puts somebody forward is for a person to decide on, whoever posted it."""
    found = [one for one in effects(rule) if one.startswith(PUTS_FORWARD)]
    return Ruling(Outcome.QUARANTINE, tuple(found)) if ruling.outcome is Outcome.ACCEPT and found else ruling


def edit_is_hearsay(edit: Edit, evidence: Evidence, unvouched: frozenset[str]) -> bool:
    """Whether a model's skill says more than what somebody vouches for; `unvouched` are the refs of skills."""
    failure, skill = evidence.failure, edit.skill
    changed = [one for one in evidence.near if one.name in edit.names]
    if skill is None or not is_vouched_for(failure) or any(one.ref in unvouched for one in changed):
        return True
    own = [failure.request.own, failure.words.own, *(asked(turn.query).own for turn in evidence.successes)]
    own += [near.body for near in evidence.near if near.ref not in unvouched]
    others = [*read_by_the_agent(failure), *(turn.reply for turn in evidence.successes)]
    others += [passage for turn in evidence.successes for passage in asked(turn.query).foreign]
    others += [near.body for near in evidence.near if near.ref in unvouched]
    others += [rejected.body for rejected in evidence.rejected]
    text, queries = f"{skill.name} {skill.description}\n{skill.body}", [turn.query for turn in evidence.successes]
    return takes_over(text, own, others) or _repeats_material(text, failure, queries)


def code_is_hearsay(skill: Skill, failure: Failure) -> bool:
    """The same for a code skill, of which the model that uses it reads the description."""
    own = [failure.request.own, failure.words.own]
    told = f"{skill.name} {skill.description}"  # the rest is ours, or computed
    taken = takes_over(told, own, read_by_the_agent(failure)) or _repeats_material(told, failure)
    return not is_vouched_for(failure) or taken


def takes_over(text: str, own: Sequence[str], others: Sequence[str]) -> bool:
    """Whether a skill's text says what others wrote, beyond what the user said."""
    taken = (telling(text) & telling("\n".join(others))) - telling("\n".join(own)) - SCAFFOLD
    names = telling(" ".join(NAME_LIKE.findall("\n".join(others))))
    return len(taken) > MOST_TAKEN or bool(taken & names) or bool(taken and effects(text))


def _repeats_material(text: str, failure: Failure, queries: Sequence[str] = ()) -> bool:
    """Whether it copies a run of words out of a request that may stand there as the request's material."""
    found = runs_of(text) - runs_of(failure.words.own)
    pairs = [(failure.turn.query, failure.example), *((query, example_of(query)) for query in queries)]
    return any(found & (runs_of(query) - runs_of(example)) for query, example in pairs)


def read_by_the_agent(failure: Failure) -> list[str]:
    """What stood in the failed turn that nobody vouches for: tool results, what was passed on, the reply itself."""
    results = [result.text for result in results_in(conversation_of(failure.turn))]
    return [*failure.words.foreign, *failure.request.foreign, failure.turn.reply, *results]


SCAFFOLD = telling(f"{body_for('', '', '-')} Not for: Like: Said of this user")
