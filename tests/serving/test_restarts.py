"""At once at first, then after pauses that double, and calm again after a minute."""

from __future__ import annotations

from metaclaw.serving.restarts import LONGEST_PAUSE_SECONDS, Restarts


def test_the_first_start_again_is_at_once_and_the_next_ones_wait_longer_and_longer() -> None:
    restarts = Restarts()
    restarts.began(100.0)
    waits = []
    for _ in range(9):
        restarts.ended(101.0, "killed")
        waits.append(restarts.seconds_left(101.0))
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    assert restarts.seconds_left(101.0 + LONGEST_PAUSE_SECONDS) == 0.0
    assert (restarts.count, restarts.in_a_row, restarts.last_failure) == (9, 9, "killed")


def test_a_minute_of_service_ends_the_row_and_not_the_count() -> None:
    restarts = Restarts()
    restarts.began(0.0)
    restarts.ended(1.0, "a")
    restarts.failed(2.0, "b")
    assert (restarts.count, restarts.in_a_row, restarts.seconds_left(2.0)) == (1, 2, 0.5)
    restarts.began(3.0)
    restarts.ended(63.0, "c")
    assert (restarts.count, restarts.in_a_row, restarts.seconds_left(63.0)) == (2, 1, 0.0)


def test_only_what_was_refused_since_the_last_start_speaks_against_it_and_what_comes_instead_does_not_wait() -> None:
    restarts = Restarts()
    restarts.ended(0.0, "killed")
    restarts.failed(1.0, "the server is away")
    restarts.refused(2.0, "its files were changed")
    assert (restarts.refusals, restarts.in_a_row, restarts.seconds_left(2.0)) == (1, 3, 1.0)
    restarts.began(3.0)
    assert restarts.refusals == 0
    restarts.refused(4.0, "its files were changed")
    restarts.gave_way()
    assert (restarts.refusals, restarts.seconds_left(4.0)) == (0, 0.0)
