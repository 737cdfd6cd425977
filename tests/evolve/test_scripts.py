"""Where a text goes over to another script."""

from __future__ import annotations

import pytest

from metaclaw.evolve.scripts import turns_at


@pytest.mark.parametrize(("text", "rest"), [
    ("The middle is missing. 街のリストには必ず書きます。", "街のリストには必ず書きます。"),
    ("That is not it. В списке городов стоит гостиница.", "В списке городов стоит гостиница."),
    ("다시 한 번 읽어 주세요. Lists of towns carry it.", "Lists of towns carry it."),
])
def test_it_turns_where_the_other_script_begins_and_stays(text: str, rest: str) -> None:
    assert text[turns_at(text) :] == rest


@pytest.mark.parametrize("text", [
    "", "2026", "Write it in one script alone.", "YYYYMMDDの形式で日付を先頭に置いてください。",
    "我们的摘要用 Markdown 写，标题用 Title Case，最后写日期。", "우리 파일 이름은 YYYYMMDD 형식의 날짜로 시작합니다.",
    "Greet him with こんにちは, and end with the name of the team that wrote it.",
])
def test_names_and_foreign_words_are_no_passage(text: str) -> None:
    assert turns_at(text) is None
