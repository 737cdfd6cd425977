"""What waits for the user to leave, and does not go on when they are back."""

from __future__ import annotations

import asyncio

import pytest

from metaclaw.training.quiet import Quiet
from support import until


class Model:
    """Answers when it is let; keeps what was asked and what was broken off."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.answers = asyncio.Event()

    async def ask(self) -> str:
        self.told.append("asked")
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.told.append("broken off")
            raise
        return "fine"


async def test_a_question_is_broken_off_when_the_user_comes_and_asked_again_when_they_left() -> None:
    quiet, model = Quiet(), Model()
    asking = asyncio.create_task(quiet.ask(model.ask))
    await until(lambda: model.told == ["asked"])
    quiet.end()
    await until(lambda: model.told == ["asked", "broken off"])
    model.answers.set()
    await asyncio.sleep(0)
    assert not asking.done()
    quiet.begin()
    assert await asking == "fine"
    assert model.told == ["asked", "broken off", "asked"]


async def test_one_that_is_given_up_or_fails_leaves_nothing_behind() -> None:
    quiet, model = Quiet(), Model()
    asking = asyncio.create_task(quiet.ask(model.ask))
    await until(lambda: model.told == ["asked"])
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert model.told == ["asked", "broken off"]

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await quiet.ask(fails)
    assert asyncio.all_tasks() == {asyncio.current_task()}
