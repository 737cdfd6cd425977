"""Leases: one learner at a time works for a namespace. Pure decisions; who keeps the leases writes them down.

A lease runs out with its holder. The next learner waits a little longer than that: the holder, which looks at its clock
now and then, has let go by then.
"""

from __future__ import annotations

from dataclasses import dataclass

LEASE_SECONDS = 60.0
RENEW_SECONDS = LEASE_SECONDS / 3
GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Lease:
    owner: str | None
    until: float  # seconds since the epoch


def may_take(lease: Lease, owner: str, now: float) -> bool:
    """Whether `owner` may have it: it is its own, nobody's, or it ran out some time ago."""
    return lease.owner in (None, owner) or now > lease.until + GRACE_SECONDS


def holds(lease: Lease, owner: str, now: float) -> bool:
    """Whether `owner` may work under it."""
    return lease.owner == owner and now <= lease.until


def taken(owner: str, now: float) -> Lease:
    """As it is after taking, and after each renewal."""
    return Lease(owner, now + LEASE_SECONDS)
