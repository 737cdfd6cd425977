"""How often a model is asked for what it keeps failing at."""

from __future__ import annotations

from metaclaw.evolve.patience import FREE, LONGEST, Patience


def tries(patience: Patience, cases: int, *, well: bool = False) -> list[int]:
    """The cases that were tried."""
    found = []
    for case in range(cases):
        if patience.is_due("m@base"):
            found.append(case)
            patience.went("m@base", well=well)
    return found


def test_what_keeps_failing_is_tried_ever_less_often() -> None:
    assert tries(Patience(), 40) == [0, 1, 2, 4, 8, 16, 32]


def test_it_is_never_given_up() -> None:
    patience = Patience()
    found = tries(patience, 1_000)
    assert {late - early for early, late in zip(found[-5:], found[-4:], strict=False)} == {LONGEST}


def test_a_success_lifts_it() -> None:
    patience = Patience()
    tries(patience, 10)
    while not patience.is_due("m@base"):
        pass
    patience.went("m@base", well=True)
    assert tries(patience, FREE) == list(range(FREE))


def test_another_policy_starts_afresh() -> None:
    patience = Patience()
    tries(patience, 20)
    assert patience.is_due("m@lora-1")
