"""When the slow loop may run: the settings' rule, the calendar, and the senses that look at the machine."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from metaclaw.config.slow_loop import ScheduleSettings
from metaclaw.scheduler.agenda import Agenda
from metaclaw.scheduler.power import Load, on_battery
from metaclaw.scheduler.presence import presence_here
from metaclaw.scheduler.senses import Machine
from metaclaw.scheduler.windows import Rule, SleepHours


def rule_of(schedule: ScheduleSettings) -> Rule:
    """When the slow loop may run. Raises `ConfigError`."""
    return Rule(
        idle_seconds=schedule.idle_seconds,
        sleep=SleepHours.parse(schedule.sleep_hours),
        quiet_seconds=schedule.sleep_quiet_seconds,
        zone=_zone_of(schedule),
        min_seconds=60 * schedule.min_minutes,
        on_battery=schedule.on_battery,
        max_load=schedule.max_load,
    )


def machine_of(schedule: ScheduleSettings, agenda: Agenda | None) -> Machine:
    """The senses that the settings ask for; what they do not need is not looked at."""
    return Machine(
        utc_now,
        presence_here() if schedule.watch_input else None,
        agenda,
        None if schedule.on_battery else on_battery,
        Load() if schedule.max_load < 1 else None,
    )


def agenda_of(schedule: ScheduleSettings) -> Agenda | None:
    if schedule.calendar is None:
        return None
    return Agenda(schedule.calendar.get_secret_value(), schedule.calendar_owner, _zone_of(schedule))


def utc_now() -> datetime:
    return datetime.now(UTC)


def _zone_of(schedule: ScheduleSettings) -> ZoneInfo | None:
    return ZoneInfo(schedule.time_zone) if schedule.time_zone else None
