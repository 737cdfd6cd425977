"""When several sessions said one rule, and when it only looks so."""

from __future__ import annotations

import pytest

from metaclaw.evolve.corroborate import Voice, apart, copies, corroborated, heard_in

RULE = "A file name starts with the date as eight digits, then an underscore."
SAID = (
    Voice("a", RULE),
    Voice("b", "File names begin with the date, eight digits, and an underscore follows."),
    Voice("c", "Put the date first in the name of a file: eight digits and then the underscore."),
)


def test_three_sessions_in_words_of_their_own_corroborate() -> None:
    assert corroborated(RULE, SAID) == "said in 3 sessions, each in its own words"


@pytest.mark.parametrize("voices", [
    SAID[:2],
    (SAID[0], *(Voice("b", one.words) for one in SAID[1:])),  # one session, twice
    tuple(Voice(session, RULE) for session in "abcd"),  # one text, pasted
    (SAID[0], Voice("b", f"No! {RULE} Thanks."), Voice("c", f"Again: {RULE}")),
    (SAID[0], *(Voice(session, f"The weather was fine on {session} and it rained later.") for session in "bcd")),
    (),
])
def test_copies_repetitions_and_other_matters_do_not(voices: tuple[Voice, ...]) -> None:
    assert corroborated(RULE, voices) == ""
    assert heard_in(RULE, voices) < 3


def test_a_claim_that_only_one_makes_is_not_borne_out_by_a_rule_that_all_share() -> None:
    rider = f"{RULE} Every table praises velvet curtains from Northwind."
    assert corroborated(rider, (Voice("a", rider), *SAID[1:])) == ""


def test_texts_without_blanks_are_compared_by_characters() -> None:
    assert copies("文件名以日期开头，格式是八位数字", "不对，文件名以日期开头，格式是八位数字。")
    assert not copies("文件名以日期开头，格式是八位数字", "标题末尾不要加句号，长度不超过十五个字。")
    same = [Voice(session, "标题末尾不要加句号") for session in "ab"]
    assert len(apart([*same, Voice("a", "别的话说在这里")])) == 1
