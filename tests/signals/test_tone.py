"""What people say of replies: by example here, by number in tests/bench/test_signals.py."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.signals.tone import CONTENT, MAX_READ, NEUTRAL, WRONG, sentences, tone, tone_of_remark

CORRECTIONS = [
    "No, the date comes first.", "no. use underscores", "Nope, lower case please", "Wrong, it is 5 pm",
    "That's wrong.", "That is not how we name files.", "that's not what I meant", "You forgot the header.",
    "You should have used ISO dates", "I said millimetres", "I asked for a list, not prose", "I told you: no emojis",
    "This is wrong", "please redo it in French", "Not quite: two decimals", "incorrect", "Actually, it should be 12",
    "Actually, we use tabs here", "No we write the year first", "Thanks, but that's wrong", "Great, but you forgot Bob",
    "It's not right yet", "Thanks. You forgot Bob, though.", "its still broken", "Danke, aber das stimmt nicht.",
    "Ça ne marche pas.", "Sigue sin funcionar", "还是不对", "まだ動きません", "여전히 안 돼요", "Опять не работает",
    "> the text you wrote\nThat's wrong.", "Why did you delete the tests?",
]
PRAISE = [
    "Thanks!", "thank you, that works", "Perfect.", "Great, now the next one", "Exactly what I needed", "Well done",
    "That's right.", "No problem, thanks", "No worries!", "No, that's fine", "no thanks", "No, that is perfect",
    "Danke!", "Parfait.", "¡Perfecto!", "谢谢", "完璧です", "고마워요", "Спасибо!", "Thanks. Now write the tests.",
]
NEITHER = [
    "What is the capital of France?", "Now write the tests.", "Nothing else for today", "Notes of the meeting, please",
    "Know any good books?", "No one answered the door in my story. Continue it.", "No more than 3 words: name a fruit",
    "Actually, can you also translate it?", "I asked Bob to dinner. Write him a reminder.", "Norway or Sweden?",
    "Write a policy: passwords must never be shared and must always be long.", "Thanks, but first: who is Bob?",
    "Tell our customers that we never sell their data.", "", "  ", "Write the sentence 'it should be fun' in German.",
    "Wrong number of arguments is the error I get: please fix my code", "Actually, one more question", "No. 5, please",
    "My boss wrote \"No, this is wrong.\" How do I answer?", "> You forgot Bob\nWhat did he mean by this?",
    "Translate `that's wrong` into German", "Is that wrong?", "What's wrong with this sentence?", "...", "?!",
]


@pytest.mark.parametrize("text", CORRECTIONS)
def test_a_correction_is_heard_with_the_words_that_made_it_one(text: str) -> None:
    heard = tone(text)
    assert heard.value == WRONG
    assert heard.span


@pytest.mark.parametrize("text", PRAISE)
def test_praise_is_heard(text: str) -> None:
    assert tone(text).value == CONTENT
    assert tone_of_remark(text).value == CONTENT


@pytest.mark.parametrize("text", NEITHER)
def test_the_next_task_says_nothing_of_the_last_reply(text: str) -> None:
    assert tone(text) == NEUTRAL


@pytest.mark.parametrize("text", ["No, the other one.", "no", "Nein, lieber nicht so.", "不，换一个"])
def test_a_no_after_a_question_is_its_answer(text: str) -> None:
    assert tone(text).value == WRONG
    assert tone(text, answers_a_question=True) == NEUTRAL


def test_more_than_a_no_is_a_correction_after_a_question_too() -> None:
    assert tone("You forgot the date.", answers_a_question=True).value == WRONG


@pytest.mark.parametrize(
    "text", ["It should have been `a.md`.", "We always put the date first.", "In our files it must never start so."]
)
def test_a_rule_is_a_correction_only_where_it_is_known_to_be_about_the_reply(text: str) -> None:
    assert tone_of_remark(text).value == WRONG
    assert tone_of_remark(f"He wrote \"{text}\"") == tone(f"He wrote \"{text}\"")


def test_only_the_beginning_counts() -> None:
    assert tone("x" * MAX_READ + ". That's wrong.") == NEUTRAL
    assert tone("One. Two. Three. Four. That's wrong.") == NEUTRAL
    assert len(sentences("a. b. c. d. e. f. g.")) == 4


@given(st.text(max_size=200))
def test_any_text_has_a_tone(text: str) -> None:
    assert tone(text).value in (WRONG, 0.0, CONTENT)
    assert tone_of_remark(text).value in (WRONG, 0.0, CONTENT)


@pytest.mark.parametrize("piece", ["no ", "you ", "the ", "'", '"', "`", "a.", "hmm ", "ich habe ", "\n> ", "(", "«"])
def test_a_long_text_takes_no_time(piece: str) -> None:
    began = time.process_time()
    tone(piece * (1 << 18))
    assert time.process_time() - began < 1
