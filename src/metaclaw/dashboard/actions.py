"""What can be done from the pages: the command line's own acts, on the same rooms, with who did it in the history.

Each takes the fields of a form and returns what it did. Raises `MetaClawError` where it cannot be done.
"""

from __future__ import annotations

from metaclaw.dashboard.adapters import undone_next
from metaclaw.dashboard.rooms import Asked, Done, Rooms
from metaclaw.dashboard.skills import is_tried_unvouched
from metaclaw.errors import SkillError, TrainingError
from metaclaw.types import LIVE_STATES, Skill, SkillState

BY = "by a person, on the dashboard"
MOST_REASON = 200


def approve(rooms: Rooms, asked: Asked) -> Done:
    """A version that waits goes live; one on trial that nobody vouches for is active."""
    tried = _seen_on_trial(rooms, asked)
    skill = tried or _seen_candidate(rooms, asked)
    rooms.catalog.approve(skill, f"approved {BY}")
    told = "is active" if tried else "is live: the next request that it fits carries it"
    return Done(f"{skill.ref} {told}.", f"/skills/{skill.name}")


def reject(rooms: Rooms, asked: Asked) -> Done:
    skill = _seen_candidate(rooms, asked)
    rooms.catalog.change_state(skill, SkillState.RETIRED, f"rejected {BY}")
    return Done(f"{skill.ref} was rejected. It stays in the history.", f"/skills/{skill.name}")


def discard(rooms: Rooms, asked: Asked) -> Done:
    """Throw a broken edit of a skill's file away; what is live stands in it again."""
    name = asked.named["name"]
    if rooms.catalog.get(name).state not in LIVE_STATES:
        raise SkillError(f"Nothing of {name} is live that could stand in its file.")
    with rooms.catalog.mirror.locked():
        if name not in rooms.catalog.mirror.problems():
            raise SkillError(f"The file of {name} is not broken: there is nothing to discard.")
        rooms.catalog.mirror.discard(name)
        rooms.catalog.follow(name)
    return Done(f"{rooms.catalog.get(name).ref} stands in its file again.", f"/skills/{name}")


def retire(rooms: Rooms, asked: Asked) -> Done:
    name = asked.named["name"]
    reason = " ".join(asked.fields.get("reason", "").split())[:MOST_REASON]
    rooms.catalog.retire(name, f"retired {BY}: {reason}" if reason else f"retired {BY}")
    return Done(f"{name} is out of use. Rolling back brings it into use again.", f"/skills/{name}")


def roll_back(rooms: Rooms, asked: Asked) -> Done:
    name = asked.named["name"]
    restored, _ = rooms.catalog.rollback(name, f"rolled back {BY}")
    now = f"its text of before is live as {restored.ref}" if restored else "no version of it is live now"
    return Done(f"{name} was rolled back: {now}.", f"/skills/{name}")


def roll_back_adapter(rooms: Rooms, asked: Asked) -> Done:
    """Undo the step that the person saw as the newest, a trial or else a promotion, and no other."""
    newest = undone_next(rooms.routes.state())
    if newest != asked.named["name"]:
        raise TrainingError(f"{asked.named['name']} is no longer what is wanted: {newest or 'the base model'} is.")
    serves = rooms.roll_back_adapter()
    return Done(f"{newest} was rolled back: {serves or 'the base model'} serves from now on.", "/adapters")


def promote_adapter(rooms: Rooms, asked: Asked) -> Done:
    """Put an adapter that a verdict admits into service, for a share of the sessions first."""
    told = rooms.promote_adapter(asked.named["name"])
    return Done(told, "/adapters")


def train_now(rooms: Rooms, asked: Asked) -> Done:
    if rooms.cannot_train:
        raise TrainingError(rooms.cannot_train)
    rooms.board.ask()
    return Done("Asked for. It begins when no request has come for two seconds.", "/training")


def hold_training(rooms: Rooms, asked: Asked) -> Done:
    rooms.board.hold()
    return Done("Paused. What is being trained stops within a second and is kept, until you resume it.", "/training")


def resume_training(rooms: Rooms, asked: Asked) -> Done:
    rooms.board.take_back()
    return Done("Resumed: it trains in the next window, and what was paused goes on where it stood.", "/training")


def _seen_on_trial(rooms: Rooms, asked: Asked) -> Skill | None:
    """The version that the person saw, where it is on trial and nobody vouches for it."""
    skill = rooms.catalog.get(asked.named["name"])
    seen = skill.version == asked.number("version")
    return skill if seen and is_tried_unvouched(skill, rooms.catalog.unvouched()) else None


def _seen_candidate(rooms: Rooms, asked: Asked) -> Skill:
    """The version that the person saw. Raises `SkillError` where another waits by now, or none."""
    name = asked.named["name"]
    waiting = rooms.catalog.candidate(name)
    if waiting is None:
        raise SkillError(f"No version of {name} waits for you any more.")
    if waiting.version != asked.number("version"):
        raise SkillError(f"Another version of {name} waits by now. Read it first.")
    return waiting
