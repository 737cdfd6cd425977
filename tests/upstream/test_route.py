"""A request keeps its route from first to last; a switch hurts nobody."""

from __future__ import annotations

import asyncio

import pytest

from metaclaw.errors import UpstreamError
from metaclaw.upstream.route import Route, Router, falls_to

OLD, NEW = Route("http://a/v1", "p1"), Route("http://b/v1", "p2")


async def test_a_lease_outlives_a_switch() -> None:
    router = Router(OLD)
    with router.lease(OLD):
        assert router.switch(NEW) == OLD
        with router.lease(NEW):
            assert (router.routes(), router.in_flight()) == ((NEW,), 2)
    assert router.in_flight() == 0


async def test_drained_waits_for_the_last_lease_of_that_route_alone() -> None:
    router = Router(OLD)
    old = [router.lease(OLD), router.lease(OLD)]
    for lease in old:
        lease.__enter__()
    router.switch(NEW)
    drained = asyncio.create_task(router.drained(OLD))
    with router.lease(NEW):
        old[0].__exit__(None, None, None)
        await asyncio.sleep(0)
        assert not drained.done()
        old[1].__exit__(None, None, None)
        await asyncio.wait_for(drained, 1)


async def test_a_lease_ends_with_a_failed_or_cancelled_request() -> None:
    router = Router(OLD)
    with pytest.raises(ValueError, match="boom"), router.lease(OLD):
        raise ValueError("boom")

    async def hold() -> None:
        with router.lease(OLD):
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await asyncio.sleep(0)
    assert router.in_flight() == 1
    task.cancel()
    await asyncio.wait([task])
    assert router.in_flight() == 0
    await asyncio.wait_for(router.drained(OLD), 1)


async def test_without_a_route_the_client_is_told_to_come_back() -> None:
    with pytest.raises(UpstreamError, match="not ready") as refused:
        Router().routes()
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "model_loading", "2")


def test_a_share_of_the_sessions_falls_to_what_is_on_trial_and_stays_there() -> None:
    router = Router(OLD)
    assert router.try_out(NEW, 0.25) is None
    names = [f"session-{number}" for number in range(2000)]
    first = [router.routes(session=name)[0] for name in names]
    assert 0.21 < first.count(NEW) / len(names) < 0.29
    assert [router.routes(session=name)[0] for name in names] == first
    assert [falls_to("p2", name, 0.25) for name in names] == [route is NEW for route in first]
    assert router.routes(session=names[first.index(NEW)]) == (NEW, OLD)  # where it fails, the other is asked
    assert router.routes() == (OLD,)
    assert router.try_out(None) == NEW
    assert {router.routes(session=name) for name in names} == {(OLD,)}


def test_another_trial_draws_other_sessions() -> None:
    names = [f"session-{number}" for number in range(2000)]
    both = sum(falls_to("p2", name, 0.25) and falls_to("p3", name, 0.25) for name in names)
    assert 60 < both < 190  # a sixteenth
