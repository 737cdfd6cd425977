"""What went right or wrong in a turn: pure functions over the turn and what came after it.

Each returns signals with the reason and the words that it rests on; none where it has nothing to say. How much a source
weighs is `combine`'s business; a value says how bad or good the thing is, were it certain.
"""

from __future__ import annotations

from collections.abc import Sequence

from metaclaw.signals.checks import passes
from metaclaw.signals.failures import failure_in
from metaclaw.signals.repeats import same_request
from metaclaw.signals.sequel import Sequel, conversation_of
from metaclaw.signals.tone import WRONG, Tone, tone, tone_of_remark
from metaclaw.signals.tools import ToolResult, results_in
from metaclaw.types import Feedback, Message, Signal, Turn

MAX_EVIDENCE = 2_000  # characters of a message that are kept with the signal


def what_followed(turn: Turn, sequel: Sequel) -> list[Signal]:
    """All that the sequel says of the turn."""
    return [
        *next_message(turn, sequel.said),
        *tool_errors(turn, sequel),
        *repeated_failures(turn, sequel),
        *regenerated(turn, sequel),
    ]


def explicit_feedback(turn: Turn, feedback: Sequence[Feedback]) -> list[Signal]:
    """Scores, and texts without a score that read as a correction or as praise."""
    signals = []
    for item in feedback:
        if item.score is not None:
            signals.append(Signal(turn.id, "feedback", item.score, "the client scored it", item.id))
        elif item.text and (heard := tone_of_remark(item.text)).value:
            reason = f"what the client said of it: '{heard.span}'"
            signals.append(Signal(turn.id, "feedback", heard.value, reason, item.id))
    return signals


def posted_checks(turn: Turn, feedback: Sequence[Feedback]) -> list[Signal]:
    """A check that came with feedback, applied to the reply; an unusable one abstains."""
    signals = []
    for item in feedback:
        if item.check is not None:
            passed = passes(item.check, turn.reply)
            value = None if passed is None else (1.0 if passed else -1.0)
            reason = {None: "the check could not be applied", True: "the check passed", False: "the check failed"}
            signals.append(Signal(turn.id, "check", value, reason[passed], item.id))
    return signals


def next_message(turn: Turn, said_next: str) -> list[Signal]:
    """The user's next message, where it corrects or praises the reply."""
    heard = tone(said_next, answers_a_question=turn.reply.rstrip().endswith(("?", "？")))
    if not heard.value:
        return []
    return [Signal(turn.id, "next_message", heard.value, _in_words(heard), said_next[:MAX_EVIDENCE])]


def tool_errors(turn: Turn, sequel: Sequel) -> list[Signal]:
    """Calls of this turn that failed: often the surroundings' fault, so little by itself."""
    failed = [(result, words) for result in sequel.results if (words := failure_in(result))]
    return [
        Signal(turn.id, "tool_error", -0.4, f"its call of {result.name or 'a tool'} failed", words[:MAX_EVIDENCE])
        for result, words in failed
    ]


def repeated_failures(turn: Turn, sequel: Sequel) -> list[Signal]:
    """A call that had failed before, made again unchanged: from the third time on the surroundings are no excuse."""
    failed = [result for result in sequel.results if failure_in(result)]
    if not failed:
        return []
    before = [_as_made(result) for result in results_in(_since_the_user_spoke(sequel.before)) if failure_in(result)]
    signals = []
    for result in failed:
        if result.name and (times := before.count(_as_made(result))):
            reason = f"it called {result.name} again as it had failed before ({times + 1} times)"
            value = -0.4 if times == 1 else -1.0
            signals.append(Signal(turn.id, "repeated_failure", value, reason, result.arguments[:MAX_EVIDENCE]))
    return signals


def regenerated(turn: Turn, sequel: Sequel) -> list[Signal]:
    """The same messages, sent once more after the reply had come."""
    if not sequel.regenerated:
        return []
    return [Signal(turn.id, "regenerated", -0.5, "the same request was sent again", turn.query[:MAX_EVIDENCE])]


def asked_again(said: str, earlier: Sequence[Turn]) -> list[Signal]:
    """Of the earlier turns, newest first, the last one that answered the same request."""
    for turn in earlier:
        if same_request(said, turn.query):
            return [Signal(turn.id, "asked_again", -0.6, "the user asked for the same again", said[:MAX_EVIDENCE])]
    return []


def abandoned(turn: Turn) -> list[Signal]:
    """The last turn of a session that has closed, where it ended on failed calls."""
    last = _last_results(conversation_of(turn))
    failures = [failure_in(result) for result in last]
    if not failures or not all(failures):
        return []
    return [Signal(turn.id, "abandoned", -0.6, "the session ended after failed calls", failures[-1][:MAX_EVIDENCE])]


def _in_words(heard: Tone) -> str:
    did = "corrected it" if heard.value == WRONG else "was content"
    return f"the user {did} in the next message: '{heard.span}'"


def _as_made(result: ToolResult) -> tuple[str, str]:
    return result.name, result.arguments


def _since_the_user_spoke(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages after the user's last words; tool results that travel as the user's are not words."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].get("role") == "user" and not results_in(messages[index : index + 1]):
            return messages[index:]
    return messages


def _last_results(messages: Sequence[Message]) -> list[ToolResult]:
    """The results that end the conversation; none where something else does."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.get("role") == "assistant" or str(message.get("type")).endswith("_call"):
            return results_in(messages[index:])
        if message.get("role") == "user" and not results_in([message]):
            return []
    return results_in(messages)
