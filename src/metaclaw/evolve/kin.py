"""What the journal holds that bears on a failure: requests of its kind that can be scored, or that went well.

In: a failure. Out: `Kin`. The kind of a request is the neighbourhood of its words' vector; what was said of a turn is
read from feedback and signals. A few of the user's other requests come too, as a measure of collateral harm: always the
same ones, so that one skill is measured like the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.evolve.failure import Failure
from metaclaw.evolve.nearest import Embed
from metaclaw.evolve.parts import about, rule_in
from metaclaw.evolve.unrelated import BUILT_IN, Probe
from metaclaw.journal import trajectories
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.types import Turn

LOOKED_AT = 500  # the newest turns that something was said of
SAME_KIND, ANOTHER_KIND = 0.6, 0.25  # cosines of two requests
SAME_RULE = 0.5  # of what was said of them: two different rules reach it in 1 of 200 pairs
MOST_CASES, MOST_SUCCESSES, MOST_OTHERS = 3, 2, 2
TRIED = 40  # neighbours that are read in full, at most: a request may be long
MOST_OTHER_BYTES = 4_000
SHORT_REPLY = 64  # characters, which a probe's few tokens hold: of a longer one, the check would see a piece


@dataclass(frozen=True, slots=True)
class Kin:
    """`cases` can be scored; `successes` went well; `probes` are requests of other kinds."""

    cases: tuple[Failure, ...]
    successes: tuple[Turn, ...]
    probes: tuple[Probe, ...]


def kin_of(failure: Failure, database: Database, embed: Embed) -> Kin:
    namespace = failure.turn.namespace
    heard = trajectories.queries_with_signals(database, namespace, LOOKED_AT)
    heard = [(turn_id, query) for turn_id, query in heard if turn_id != failure.turn.id]
    if not heard:
        return Kin((), (), BUILT_IN)
    vectors = embed([failure.turn.query, *(query for _, query in heard)])
    cosines = (vectors[1:] @ vectors[0]).tolist()
    ranked = sorted(zip(cosines, (turn_id for turn_id, _ in heard), strict=True), key=lambda row: -row[0])
    kindred = [turn_id for cosine, turn_id in ranked[:TRIED] if cosine >= SAME_KIND]
    cases: list[Failure] = []
    successes: list[Turn] = []
    for turn_id in kindred:
        found = failure_of(turn_id, database, namespace)
        case = _of_the_rule(found, failure, embed) if found and len(cases) < MOST_CASES else None
        if case and case.can_score and _is_new(case, [failure, *cases]):
            cases.append(case)
        if found and len(successes) < MOST_SUCCESSES and ledger.outcome_of(database, namespace, turn_id).succeeded:
            successes.append(found.turn)
    others = [turn_id for cosine, turn_id in ranked if cosine < ANOTHER_KIND]
    return Kin(tuple(cases), tuple(successes), (*BUILT_IN, *_others(others, database, namespace)))


def failure_of(turn_id: str, database: Database, namespace: str) -> Failure | None:
    """The turn with what was said of it; None where there is no such turn."""
    turn = trajectories.turn(database, namespace, turn_id)
    if turn is None:
        return None
    said = trajectories.feedback_on(database, namespace, turn_id)
    check = next((item.check for item in reversed(said) if item.check), None)
    texts = [item.text for item in said if item.text]
    signals = ledger.signals_on(database, namespace, turn_id)
    overheard = not texts
    texts += [s.evidence for s in signals if s.source == "next_message" and (s.value or 0) < 0 and not texts]
    return Failure(turn, texts[-1] if texts else "", check, overheard=overheard and bool(texts or not said))


def _of_the_rule(found: Failure, failure: Failure, embed: Embed) -> Failure | None:
    """What was said of another turn, as far as it is this failure's rule; None where it is about something else.

    A turn that went well without any skill is of every rule: it must stay as well.
    """
    if not found.correction:
        return found if not found.turn.skills else None
    rule = rule_in(failure.words.own)
    if not rule:
        return found
    case = about(found, rule)
    said, meant = embed([rule_in(case.words.own), rule])
    return case if float(said @ meant) >= SAME_RULE else None


def _is_new(found: Failure, others: Sequence[Failure]) -> bool:
    """Whether it asks something that none of the others asks."""
    return all(found.turn.query != other.turn.query for other in others)


def _others(turn_ids: Sequence[str], database: Database, namespace: str) -> list[Probe]:
    """Those that went well, in an order that only their names decide."""
    found: list[Probe] = []
    for turn_id in sorted(turn_ids, key=lambda name: hashlib.sha256(name.encode()).digest())[:TRIED]:
        if len(found) == MOST_OTHERS:
            break
        if not ledger.outcome_of(database, namespace, turn_id).succeeded:
            continue
        case = failure_of(turn_id, database, namespace)
        if case and len(case.turn.request) <= MOST_OTHER_BYTES:
            checked = case.check is not None and len(case.turn.reply) <= SHORT_REPLY
            found.append(Probe(case.turn.query, case.is_right if checked else None, case.turn))
    return found
