"""The measures of collapse, against values counted by hand."""

from __future__ import annotations

from metaclaw.training.collapse import different, distinct, length_ratio, newly_declined, ratio, solved_within

REFUSAL = "I can't help with that."


def test_distinct_n_counts_runs_of_words_over_all_texts() -> None:
    assert distinct(["a b a b", "a b"], 2) == 2 / 4  # ab, ba, ab; ab
    assert distinct(["a b c"], 1) == 1.0
    assert distinct(["A b", "a B"], 2) == 1 / 2
    assert distinct(["one"], 2) == 1.0
    assert distinct([], 2) == 1.0


def test_different_counts_whole_texts() -> None:
    assert different(["x y", "X  Y", "z"]) == 2 / 3
    assert different([]) == 1.0


def test_lengths_are_compared_in_total() -> None:
    assert length_ratio(["abc", ""], ["ab", "abcd"]) == 0.5
    assert length_ratio(["abc"], []) == 1.0
    assert ratio(1.0, 0.0) == 1.0


def test_pass_at_k_is_one_right_try() -> None:
    assert solved_within([False, None, True]) is True
    assert solved_within([False, False]) is False
    assert solved_within([None]) is None
    assert solved_within([]) is None


def test_declining_is_counted_net() -> None:
    assert newly_declined(["Yes.", REFUSAL, "No."], [REFUSAL, REFUSAL, REFUSAL]) == 2
    assert newly_declined([REFUSAL], ["Yes."]) == -1
