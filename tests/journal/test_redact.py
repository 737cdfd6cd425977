"""Secrets go, everything else stays, and JSON stays JSON."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.journal.redact import PATTERNS, Redactor

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7+x/y-z\nabc==\n-----END RSA PRIVATE KEY-----"
A, B, DIGITS = "aB3dE6gH9j" * 4, "Qw3rTy7uIo" * 4, "1234567890" * 4
SECRETS: list[tuple[str, str]] = [
    ("private-key", PEM),
    ("api-key", f"sk-proj-{A}"),
    ("api-key", f"sk-ant-api03-{A}_x-y"),
    ("github-token", f"ghp_{A}"),
    ("github-token", f"github_pat_{A}{A}"),
    ("aws-key", "AKIAIOSFODNN7EXAMPLE"),
    ("slack-token", f"xoxb-{DIGITS}"),
    ("google-key", f"AIza{A[:35]}"),
    ("hub-token", f"hf_{A}"),
    ("gitlab-token", f"glpat-{A[:20]}"),
    ("metaclaw-token", f"mc-{A}"),
    ("jwt", f"eyJ{A}.eyJ{B}.{A}"),
    ("bearer", f"Bearer {A}"),
    ("url-password", "postgres://ann:hunter2@db.local/x"),
    ("assigned-secret", "password: correct-horse-7-battery"),
    ("assigned-secret", "DB_PASSWORD=correct-horse-7-battery"),
    ("assigned-secret", "OPENAI_API_KEY='abc123def456ghi789'"),
    ("assigned-secret", 'aws_secret_access_key = "abc123/def456+ghi789"'),
    ("assigned-secret", '{"access_token": "abc123def456ghi789"}'),
]
HIDDEN = ["MIIEp", A[:20], B[:20], DIGITS[:20], "AKIA", "hunter2", "correct-horse", "abc123"]
BENIGN = [
    str(uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF)),
    "3f786850e387550fdab836ed7e6dc881de23001b",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "Please write a sentence about the password policy of our office.",
    "The secret of good bread is time; the password is asked twice.",
    "password: required",
    "secret = None",
    '{"secret": 123456789012345, "password": null, "api_key": ""}',
    "The task-force met the risk-averse desk-bound team.",
    "https://example.org:8080/a/b?c=d@e",
    "The bearer of this letter is Ann.",
    "20260105_budget_review.md and 2026-01-05T09:00:00+08:00",
    "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----",
]


@pytest.mark.parametrize("before", ["\n", "\t", "\r\n", "ä", "\u2028", "\x1b[32m", "=", '"'])
@pytest.mark.parametrize(("kind", "secret"), SECRETS)
def test_a_secret_leaves_json_wherever_a_line_of_it_begins(kind: str, secret: str, before: str) -> None:
    stored = Redactor().bytes(json.dumps({"output": json.dumps(f"It printed:{before}{secret}{before}")}).encode())
    if kind != "assigned-secret" or not secret.startswith("{"):  # a key in JSON in JSON in JSON is beyond telling
        assert not any(part.encode() in stored for part in HIDDEN), stored
    json.loads(json.loads(stored)["output"])


@pytest.mark.parametrize(("kind", "secret"), SECRETS)
def test_a_secret_leaves_text_and_bytes(kind: str, secret: str) -> None:
    redactor = Redactor()
    text = f"Here it is: {secret} and some more."
    clean = redactor.text(text)
    assert f"[redacted:{kind}]" in clean
    assert not [part for part in HIDDEN if part in clean]
    assert clean.startswith("Here it is: ")
    assert clean.endswith(" and some more.")
    assert redactor.bytes(text.encode()) == clean.encode()
    assert redactor.text(clean) == clean


@pytest.mark.parametrize(("kind", "secret"), SECRETS)
def test_a_secret_inside_a_json_body_leaves_it_valid(kind: str, secret: str) -> None:
    arguments = json.dumps({"command": secret, "then": "go on"})
    body = {"messages": [{"role": "user", "content": f"Use {secret} now"}, {"content": arguments}], "n": 1}
    clean = Redactor().bytes(json.dumps(body).encode())
    assert f"[redacted:{kind}]".encode() in clean
    assert not [part for part in HIDDEN if part.encode() in clean]
    read = json.loads(clean)
    assert read["n"] == 1
    assert json.loads(read["messages"][1]["content"])["then"] == "go on"


@pytest.mark.parametrize("body", [
    {"password": "correct-horse-7-battery", "port": 5432},
    {"nested": [{"api_key": "abc123def456ghi789"}], "port": 5432},
    {"secret": 123456789012345, "port": 5432},
])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_json_field_keeps_its_key_and_its_neighbours(body: dict[str, object], separators: tuple[str, str]) -> None:
    read = json.loads(Redactor().bytes(json.dumps(body, separators=separators).encode()))
    assert read.keys() == body.keys()
    assert read["port"] == 5432


def test_the_marks_of_a_key_in_two_strings_do_not_swallow_what_is_between() -> None:
    body = ["It begins with -----BEGIN PRIVATE KEY-----", "and ends with -----END PRIVATE KEY-----"]
    assert json.loads(Redactor().bytes(json.dumps(body).encode())) == body


def test_known_secrets_go_whatever_they_look_like() -> None:
    redactor = Redactor(["plain words (with) brackets", "short"])
    assert redactor.text("x plain words (with) brackets y") == "x [redacted:known] y"
    assert redactor.text("a short story") == "a short story"


@pytest.mark.parametrize("text", BENIGN)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor().text(text) == text
    assert Redactor().bytes(text.encode()) == text.encode()


def test_every_kind_has_an_example() -> None:
    assert {pattern.kind for pattern in PATTERNS} == {kind for kind, _ in SECRETS}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from([s for _, s in SECRETS]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["password", "secret", "x"]) | st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_whatever_json_comes_in_json_goes_out(value: object) -> None:
    json.loads(Redactor().bytes(json.dumps(value).encode()))
    json.loads(Redactor().text(json.dumps(value, ensure_ascii=False)))
