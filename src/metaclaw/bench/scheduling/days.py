"""One simulated world played to its end, with the scheduler's own decisions; what must never happen is looked for.

`windows`, `machine` and `leases` decide; the clock, the user, the store and the trainer are simulated. Between two
events nothing changes, so steps are dense after each and sparse elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from metaclaw.bench.scheduling.world import Job, World, moments
from metaclaw.scheduler import leases, machine
from metaclaw.scheduler.machine import Act, End, Phase, State
from metaclaw.scheduler.windows import Activity, Senses, after_step, window

SECOND_BY = 1.0  # the promise: paused within a second


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
        out.slowest_pause = max(out.slowest_pause, _late(world, t))


def _late(world: World, t: float) -> float:
    """How long a job has been at work, at `t`, since it no longer may; a machine that slept did not work."""
    hundredths = next((back for back in range(1_000) if world.allowed(t - back / 100)), 1_000)
    return min(hundredths / 100, t - world.last_woken(t))


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
    if since_woken > SECOND_BY and not any(world.allowed(t - SECOND_BY * back / 100) for back in range(101)):
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
