"""The scheduler in simulated days: requests, returns, crashes, sleeping machines; what must never happen is looked for.

    python -m metaclaw.bench.scheduling --seeds 10000      # writes bench/results/scheduling.json

Each seed is a day and a half of one namespace with one or two learners. The decisions are the scheduler's own
(`windows`, `machine`, `leases`); the clock, the user, the store and the trainer are simulated. What is allowed is worked
out anew here, from the truth of the world, in another way than the scheduler does. Between two events nothing changes,
so steps are dense after each and sparse elsewhere.
"""

from __future__ import annotations

import argparse
import bisect
import sys
import time as clock
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from metaclaw.bench import results
from metaclaw.scheduler import leases, machine
from metaclaw.scheduler.leases import Lease
from metaclaw.scheduler.machine import Act, End, Phase, State
from metaclaw.scheduler.windows import Activity, Rule, Senses, SleepHours, Span, after_step, window

HOURS = 36
SECOND_BY = 1.0  # the promise: paused within a second
STEP = (0.2, 0.6)  # the scheduler's step, and the longest that its senses may take besides
NIGHTS = (  # zones, and days around which some of them change their clocks
    ("UTC", (2026, 3, 4)), ("Europe/Berlin", (2026, 3, 28)), ("Europe/Berlin", (2026, 10, 24)),
    ("America/New_York", (2026, 3, 7)), ("America/New_York", (2026, 10, 31)), ("Australia/Lord_Howe", (2026, 4, 4)),
    ("Asia/Kolkata", (2026, 7, 1)), ("America/St_Johns", (2026, 10, 31)),
)
Stretch = tuple[float, float]  # seconds since the beginning


@dataclass
class Job:
    """A row of the store, with what the trainer keeps on disk."""

    needed: float
    lease: Lease
    fails: bool
    state: str = "running"
    durable: float = 0.0


@dataclass
class Learner:
    """A process: what it knows, and its trainer, which dies with it."""

    name: str
    before: float
    activity: Activity
    state: State = field(default_factory=State)
    job: Job | None = None
    work: float = 0.0
    renew_at: float = 0.0
    left_alone_until: float = 0.0

    @property
    def training(self) -> bool:
        return self.job is not None and self.state.phase is Phase.WORKING


@dataclass
class Outcome:
    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_pause: float = 0.0


class World:
    """All that happens in one seed, drawn beforehand, and the store."""

    def __init__(self, seed: int) -> None:
        self.random = draw = Random(seed)
        zone, day = draw.choice(NIGHTS)
        self.zone = ZoneInfo(zone)
        self.start = datetime(*day, draw.randrange(24), draw.randrange(60), tzinfo=UTC)
        self.end = HOURS * 3600.0
        self.rule = Rule(
            idle_seconds=draw.uniform(120, 3600), quiet_seconds=draw.uniform(10, 300), zone=self.zone,
            sleep=draw.choice([None, self._hours(), self._hours()]), min_seconds=draw.choice([0, 300, 600, 1800]),
            on_battery=draw.random() < 0.3, max_load=draw.choice([0.3, 0.5, 1.0]),
        )
        self.present = self._stretches(draw.randrange(6), 60, 14_400)
        self.requests = sorted(self._requests())
        self.meetings = self._stretches(draw.randrange(4), 900, 5_400)
        self.battery = self._stretches(draw.randrange(3), 600, 14_400)
        self.loads = [(s, draw.choice([0.2, 0.45, 0.7, 0.95])) for s in sorted(self._moments(draw.randrange(5)))]
        self.loads.append((self.end, 0.1))
        self.asleep = self._stretches(draw.randrange(3), 60, 10_800)
        self.crashes = self._moments(draw.randrange(5))
        self.kills = self._moments(draw.randrange(4))
        self.asks = self._moments(draw.randrange(3))
        self.data = self._moments(draw.randrange(1, 4))
        self.edges = sorted({edge for one in self.requests for edge in one})
        self.spans = tuple(Span(self.at(a), self.at(b)) for a, b in self.meetings)
        self.jobs: list[Job] = []
        self.asked = False
        self.trained_through = -1.0

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    def _hours(self) -> SleepHours:
        return SleepHours(time(self.random.randrange(24), self.random.choice([0, 15, 30])),
                          time(self.random.randrange(24), self.random.choice([0, 15, 30])))

    def _moments(self, count: int) -> list[float]:
        return [self.random.uniform(0, self.end * 0.8) for _ in range(count)]

    def _stretches(self, count: int, least: float, most: float) -> list[Stretch]:
        return [(start, start + self.random.uniform(least, most)) for start in self._moments(count)]

    def _requests(self) -> Iterator[Stretch]:
        """Most of them while the user is there; some of agents that work alone."""
        for start in self._moments(self.random.randrange(16)):
            yield start, start + self.random.uniform(0.5, 120)
        for start, end in self.present:
            for _ in range(self.random.randrange(4)):
                begun = self.random.uniform(start, end)
                yield begun, begun + self.random.uniform(0.5, 60)

    # The truth, as it is at a moment.

    def under_way(self, t: float) -> int:
        return sum(a <= t < b for a, b in self.requests)

    def last_edge(self, t: float) -> float:
        index = bisect.bisect_right(self.edges, t)
        return self.edges[index - 1] if index else -1e9

    def last_input(self, t: float) -> float:
        return max((min(t, b) for a, b in self.present if a <= t), default=-1e9)

    def last_woken(self, t: float) -> float:
        return max((b for _, b in self.asleep if b <= t), default=-1e9)

    def load(self, t: float) -> float:
        return next((share for start, share in reversed(self.loads) if start <= t), 0.1)

    def away(self, t: float) -> bool:
        """Sleep hours by arithmetic on minutes of the day; meetings by their ends."""
        if any(a <= t < b for a, b in self.meetings):
            return True
        sleep = self.rule.sleep
        if sleep is None:
            return False
        local = self.at(t).astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        start, end = (at.hour * 60 + at.minute for at in (sleep.start, sleep.end))
        return (minute - start) % 1440 < (end - start) % 1440

    def allowed(self, t: float) -> bool:
        """Whether a job may be at work."""
        if self.under_way(t):
            return False
        if self.asked:
            return t - max(self.last_edge(t), self.last_woken(t)) >= 2
        if any(a <= t < b for a, b in self.battery) and not self.rule.on_battery:
            return False
        if self.load(t) > (1 + self.rule.max_load) / 2:
            return False
        quiet = t - max(self.last_edge(t), self.last_input(t), self.last_woken(t))
        short = min(self.rule.quiet_seconds, self.rule.idle_seconds)
        return quiet >= self.rule.idle_seconds - 1e-6 or (quiet >= short - 1e-6 and self.away(t))

    def long_enough(self, t: float) -> bool:
        quiet = t - max(self.last_edge(t), self.last_input(t), self.last_woken(t))
        if self.asked or quiet >= self.rule.idle_seconds - 1e-6:
            return True
        return all(self.away(t + 60 * minute) for minute in range(int(self.rule.min_seconds // 60) + 1))

    def fresh(self) -> bool:
        return any(self.trained_through < moment <= self.now for moment in self.data)

    now = 0.0


def play(seed: int) -> Outcome:
    """One seed, to its end; then a long quiet in which whatever is unfinished must get done."""
    world, out = World(seed), Outcome()
    second = world.random.random() < 0.4
    learners = {name: _start(world, name, 0.0) for name in ("first", *(("second",) if second else ()))}
    dead: dict[str, float] = {}
    crashes, kills, asks = sorted(world.crashes), sorted(world.kills), sorted(world.asks)
    before = 0.0
    for t in moments(world):
        if any(a <= t < b for a, b in world.asleep):  # nothing steps and no trainer works; wall time goes on
            for learner in learners.values():
                learner.renew_at += max(0.0, t - before)
            before = t
            continue
        world.now = t
        for learner in learners.values():
            _work_on(world, learner, before, t, out)
        _check(world, learners, t, out)
        while asks and asks[0] <= t:
            asks.pop(0)
            world.asked = True
        while kills and kills[0] <= t:
            kills.pop(0)
            for learner in learners.values():  # the trainer alone: started again, from its checkpoint
                learner.work = learner.job.durable if learner.job else 0.0
        while crashes and crashes[0] <= t:
            crashes.pop(0)
            name = world.random.choice(sorted(learners)) if learners else ""
            if learners.pop(name, None):
                dead[name] = t + world.random.uniform(1, 300)
                out.counts["crashes"] += 1
        for name in [name for name, back in dead.items() if back <= t]:
            del dead[name]
            learners[name] = _start(world, name, t)
        for name in world.random.sample(sorted(learners), len(learners)):
            _step(world, learners[name], t, out)
        _check_owners(learners, t, out)
        before = t
    _check_end(world, out)
    return out


def moments(world: World) -> list[float]:
    """When learners step: densely after each event and each threshold that it sets, sparsely elsewhere."""
    draw, rule = world.random, world.rule
    events = [edge for many in (world.requests, world.present, world.meetings, world.battery, world.asleep)
              for one in many for edge in one]
    events += world.crashes + world.kills + world.asks + world.data + [start for start, _ in world.loads]
    away = world.away(0)
    for minute in range(HOURS * 60):  # clocks strike whole minutes, whatever the zone
        if world.away(60.0 * minute) != away:
            away = not away
            events.append(60.0 * minute)
    later = [event + wait for event in events for wait in (2.0, rule.quiet_seconds, rule.idle_seconds)]
    found = [900.0 * number for number in range(int(world.end // 900) + 1)]
    found += [moment + draw.uniform(0, 0.2) for moment in later]
    for event in events:
        moment = event
        while moment < event + 1.5:
            moment += draw.uniform(*STEP)
            found.append(moment)
    # The quiet at the end: long enough for all that is left, crashes and leases that have to run out included.
    found += [world.end + 200.0 * number for number in range(1, 400)]
    return sorted(found)


def _start(world: World, name: str, t: float) -> Learner:
    """It is told what is under way; how long it has been quiet it cannot know. Its name in leases is a new one."""
    return Learner(f"{name} of {t}", t, Activity(world.under_way(t), world.at(t)))


def _work_on(world: World, learner: Learner, before: float, t: float, out: Outcome) -> None:
    """What the trainer did since the last step, and its checkpoints; it renews the lease meanwhile."""
    job = learner.job
    if job is None:
        return
    if t >= learner.renew_at:
        learner.renew_at = t + leases.RENEW_SECONDS
        if job.lease.owner != learner.name:
            _end(world, learner, End.LOST, t)
            return
        job.lease = leases.taken(learner.name, t)
    if not learner.training:
        return
    learner.work = min(job.needed, learner.work + t - before)
    out.counts["trained seconds"] += int(t - before)
    kept = learner.work if learner.work >= job.needed else learner.work - learner.work % 60
    if job.lease.owner == learner.name:
        if kept < job.durable - 1e-6:
            out.broken.append(f"{t:.1f}: progress went back from {job.durable:.0f} to {kept:.0f}")
        job.durable = max(job.durable, kept)
    if learner.work >= job.needed and job.lease.owner == learner.name:
        job.state = "failed" if job.fails else "done"
        if not job.fails:
            world.trained_through = t
        out.counts[job.state] += 1
        _end(world, learner, End.FAILED if job.fails else End.DONE, t)
        world.asked = False


def _end(world: World, learner: Learner, how: End, t: float) -> None:
    learner.job = None
    learner.state = machine.ended(learner.state, how)
    if how is End.LOST:
        learner.left_alone_until = t + 30


def _step(world: World, learner: Learner, t: float, out: Outcome) -> None:
    """What `Scheduler` does in a step, on the simulated senses."""
    slept = world.last_woken(t) > learner.before
    activity = _heard(world, learner, t)
    learner.activity = after_step(activity, world.at(learner.before if slept else t - 0.2), world.at(t))
    learner.before = t
    if world.asked:
        learner.state = machine.heard(learner.state)
    last = world.last_input(t)
    senses = Senses(
        world.at(last) if last > -1e9 else None, any(a <= t < b for a, b in world.battery), world.load(t), world.spans
    )
    seen = window(
        world.at(t), learner.activity, senses, world.rule, going=learner.state.going, asked=world.asked
    )
    learner.state, act = machine.step(learner.state, seen.open, lambda: _ready(world, learner, t))
    out.counts[act.value] += 1
    if act in (Act.START, Act.RESUME) and not world.long_enough(t):
        out.broken.append(f"{t:.1f}: {act.value} where too little of the window is left")
    if act is Act.START:
        _take(world, learner, t)
    elif act is Act.RESUME and learner.job and not leases.holds(learner.job.lease, learner.name, t):
        _end(world, learner, End.LOST, t)
    elif act is Act.PAUSE:
        returned = max(world.last_edge(t), world.last_input(t))
        if world.under_way(t) or t - returned < 5:
            begun = [a for a, b in (*world.requests, *world.present) if a <= t and t - a < 5]
            out.slowest_pause = max([out.slowest_pause, *(t - min(begun) for _ in begun[:1])])


def _heard(world: World, learner: Learner, t: float) -> Activity:
    """What the gateway told since the last step: each beginning and end of a request, without delay."""
    edge = world.last_edge(t)
    if edge > learner.before:
        learner.state = machine.heard(learner.state)
        return Activity(world.under_way(t), world.at(edge))
    return Activity(world.under_way(t), learner.activity.last)


def _ready(world: World, learner: Learner, t: float) -> bool:
    if t < learner.left_alone_until:
        return False
    return any(job.state == "running" for job in world.jobs) or world.fresh()


def _take(world: World, learner: Learner, t: float) -> None:
    open_jobs = [job for job in world.jobs if job.state == "running"]
    if open_jobs and not leases.may_take(open_jobs[-1].lease, learner.name, t):
        _end(world, learner, End.LOST, t)
        return
    if not open_jobs:
        draw = world.random
        world.jobs.append(Job(draw.uniform(60, 14_400), leases.taken(learner.name, t), draw.random() < 0.1))
    job = learner.job = world.jobs[-1]
    job.lease, learner.work, learner.renew_at = leases.taken(learner.name, t), job.durable, t + leases.RENEW_SECONDS


def _check(world: World, learners: dict[str, Learner], t: float, out: Outcome) -> None:
    """Before anybody steps: who trains now has done so since the last step."""
    if not any(one.training for one in learners.values()):
        return
    since_woken = t - world.last_woken(t)
    if since_woken > SECOND_BY and not any(world.allowed(t - back) for back in (0.0, 0.33, 0.67, SECOND_BY)):
        out.broken.append(f"{t:.1f}: trains outside a window for a second or more")


def _check_owners(learners: dict[str, Learner], t: float, out: Outcome) -> None:
    if sum(one.training for one in learners.values()) > 1:
        out.broken.append(f"{t:.1f}: two learners train")


def _check_end(world: World, out: Outcome) -> None:
    for job in world.jobs:
        if job.state == "running":
            out.broken.append(f"the end: a job is lost at {job.durable:.0f} of {job.needed:.0f} s")
        elif job.durable < job.needed:
            out.broken.append(f"the end: a job ended at {job.durable:.0f} of {job.needed:.0f} s")
    if world.fresh() and not any(job.state == "failed" for job in world.jobs):
        out.broken.append("the end: data was left that no training saw")


def play_all(seeds: Sequence[int]) -> tuple[dict[int, list[str]], Counter[str], float]:
    """What broke, by seed; how often things happened; and the slowest pause after a return, in seconds."""
    broken: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    slowest = 0.0
    for seed in seeds:
        out = play(seed)
        counts += out.counts
        slowest = max(slowest, out.slowest_pause)
        if out.broken:
            broken[seed] = out.broken
    return broken, counts, slowest


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    arguments = parser.parse_args()
    began = clock.monotonic()
    broken, counts, slowest = play_all(range(arguments.seeds))
    for seed, lines in list(broken.items())[:10]:
        print(f"seed {seed}: {lines[0]}")
    print(f"{arguments.seeds} seeds in {clock.monotonic() - began:.0f} s, {len(broken)} broke an invariant; {dict(counts)}")
    checks = {
        "seeds": results.Check(arguments.seeds, "at least 10000", arguments.seeds >= 10_000),
        "seeds that broke an invariant": results.Check(len(broken), "0", not broken),
        "slowest pause after a return, seconds": results.Check(round(slowest, 3), "at most 1", slowest <= SECOND_BY),
    }
    arms = {"scheduler": results.share("seeds that kept every invariant", [s not in broken for s in range(arguments.seeds)])}
    results.write(
        arguments.results, "scheduling", f"python -m metaclaw.bench.scheduling --seeds {arguments.seeds}", "none",
        [0, arguments.seeds - 1], arms, checks, {"counts": dict(counts)},
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
