"""Is the user away? Pure: the clock, activity and senses come in, a yes or no with its reason goes out.

Instants are compared as instants; local time is looked at for the sleep hours alone, so that a change to or from
daylight saving makes a night shorter or longer and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from metaclaw.errors import ConfigError

ASKED_QUIET_SECONDS = 2.0  # between two requests of a user who asked for training and works on
MINUTE = timedelta(minutes=1)
JUMP = timedelta(seconds=30)  # a step takes a fraction of a second


@dataclass(frozen=True, slots=True)
class SleepHours:
    """From `start` to `end` in local time; `end` before `start` crosses midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> SleepHours | None:
        """From '23:00-07:00'; None from an empty text. Raises `ConfigError` for anything else."""
        if not text.strip():
            return None
        try:
            start, end = (time.fromisoformat(part.strip()) for part in text.split("-"))
        except ValueError as error:
            raise ConfigError(f"schedule.sleep_hours: '{text}' is not of the form 23:00-07:00.") from error
        return cls(start, end)

    def contain(self, moment: datetime) -> bool:
        """Whether the clock on the wall, which `moment` tells, is within them."""
        now = moment.time()
        if self.start <= self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch between two instants: a meeting."""

    start: datetime
    end: datetime

    def contains(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


@dataclass(frozen=True, slots=True)
class Activity:
    """What is known of the user: requests under way, and when the last one began or ended."""

    under_way: int
    last: datetime


def after_step(activity: Activity, before: datetime, now: datetime) -> Activity:
    """A clock that jumped ahead between two steps: the machine slept, and whoever woke it counts as active."""
    return Activity(activity.under_way, now) if now - before > JUMP else activity


@dataclass(frozen=True, slots=True)
class Senses:
    """What the machine and the calendar tell. None: there is no telling here, and nothing is made of it."""

    last_input: datetime | None = None
    on_battery: bool | None = None
    load: float | None = None
    meetings: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """When a window is open. `zone` None is the machine's own; the rest is described in `[schedule]`."""

    idle_seconds: float
    sleep: SleepHours | None
    quiet_seconds: float
    zone: tzinfo | None = None
    min_seconds: float = 0.0
    on_battery: bool = True
    max_load: float = 1.0


@dataclass(frozen=True, slots=True)
class Window:
    open: bool
    reason: str


def window(
    now: datetime, activity: Activity, senses: Senses, rule: Rule, *, going: bool = False, asked: bool = False,
    held: bool = False,
) -> Window:
    """Open when nothing is under way and it has been quiet for long enough; less is enough asleep or in a meeting.

    `going`: a job is at work just now. To go on it needs less than to start: no minimum length, and some more load.
    `asked`: somebody asked for training now, who may sit at the machine; only requests make it wait.
    `held`: a person said that it is to wait, whatever else is the case.
    """
    if held:
        return Window(False, "paused by a person")
    if activity.under_way:
        return Window(False, f"{activity.under_way} requests under way")
    since_request = (now - activity.last).total_seconds()
    if asked:
        quiet_enough = since_request >= min(ASKED_QUIET_SECONDS, rule.quiet_seconds, rule.idle_seconds)
        return Window(quiet_enough, "asked for" if quiet_enough else "asked for; waits for a pause between requests")
    if reason := _machine_is_needed(senses, rule, going=going):
        return Window(False, reason)
    quiet = since_request
    if senses.last_input is not None:
        quiet = min(quiet, (now - senses.last_input).total_seconds())
    if quiet >= rule.idle_seconds:
        return Window(True, "idle")
    away = away_by(now, senses.meetings, rule)
    needed = min(rule.idle_seconds, rule.quiet_seconds) if away else rule.idle_seconds
    if quiet < needed:
        return Window(False, f"quiet for {max(quiet, 0):.0f} of {needed:.0f} s")
    if not going and not _lasts(now, senses.meetings, rule):
        return Window(False, f"{away} end in less than {rule.min_seconds / 60:.0f} minutes")
    return Window(True, away)


def away_by(now: datetime, meetings: Sequence[Span], rule: Rule) -> str:
    """What says that the user is away at that moment, whatever is heard: 'sleep hours', 'meeting', or ''."""
    if rule.sleep is not None and rule.sleep.contain(now.astimezone(rule.zone)):
        return "sleep hours"
    return "meeting" if any(meeting.contains(now) for meeting in meetings) else ""


def upcoming(now: datetime, meetings: Sequence[Span], rule: Rule, days: int = 7) -> list[tuple[Span, str]]:
    """The stretches from `now` on in which sleep hours or meetings say that the user is away, by the minute."""
    found: list[tuple[Span, str]] = []
    began, why = now, away_by(now, meetings, rule)
    moment = now.astimezone(UTC).replace(second=0, microsecond=0)
    for _ in range(days * 24 * 60):
        moment += MINUTE
        reason = away_by(moment, meetings, rule)
        if reason != why:
            if why:
                found.append((Span(began, moment), why))
            began, why = moment, reason
    return found + ([(Span(began, moment), why)] if why else [])


def _machine_is_needed(senses: Senses, rule: Rule, *, going: bool) -> str:
    """Why the machine had better not be used now; '' where nothing speaks against it.

    A job that is going stops halfway between the limit and all there is: one limit for both would start and stop it
    with every small change.
    """
    if senses.on_battery and not rule.on_battery:
        return "on battery"
    limit = (1 + rule.max_load) / 2 if going else rule.max_load
    if senses.load is not None and senses.load > limit:
        return f"other programs use {senses.load:.0%} of the processors"
    return ""


def _lasts(now: datetime, meetings: Sequence[Span], rule: Rule) -> bool:
    """Whether sleep hours and meetings go on for the minimum length, one after the other if need be."""
    minutes = range(1, int(rule.min_seconds // 60) + 1)
    return all(away_by(now + minute * MINUTE, meetings, rule) for minute in minutes)
