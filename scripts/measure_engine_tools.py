"""Does the embedded model call the right tool, and none without need? Before and after `upstream/engine_tools.py`.

    python scripts/measure_engine_tools.py MODEL.gguf

Fixed prompts with one to four tools, greedy. The wording of `tool_prompt` was chosen by the first set; the second was
written afterwards and asked once. Three ways: llama.cpp as it is; the same replies with any JSON in them taken for the
call that it resembles; and `engine_tools`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.upstream.client import UpstreamClient
from metaclaw.upstream.engine_tools import ENGINE_TOOLS
from metaclaw.upstream.route import Route

TEXT = {"type": "string"}
SIGNATURES: dict[str, tuple[str, dict[str, Any], list[str]]] = {  # name -> what it does, parameters, optional ones
    "get_weather": (
        "Current weather of a city.",
        {"city": TEXT, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, ["unit"],
    ),
    "calculate": ("Evaluate an arithmetic expression exactly.", {"expression": TEXT}, []),
    "read_file": ("Read a text file and return its contents.", {"path": TEXT}, []),
    "write_file": ("Write text into a file, replacing what is there.", {"path": TEXT, "content": TEXT}, []),
    "list_directory": ("List the files of a directory.", {"path": TEXT}, []),
    "run_command": ("Run a shell command on the user's machine and return its output.", {"command": TEXT}, []),
    "search_web": ("Search the web for current information.", {"query": TEXT}, []),
    "send_email": ("Send an email.", {"to": TEXT, "subject": TEXT, "body": TEXT}, []),
    "create_event": (
        "Put an event into the user's calendar.",
        {"title": TEXT, "date": {"type": "string", "description": "YYYY-MM-DD"}, "time": TEXT}, ["time"],
    ),
    "get_stock_price": (
        "Latest price of a stock.", {"symbol": {"type": "string", "description": "Ticker, such as MSFT"}}, [],
    ),
    "convert_currency": (
        "Convert an amount between currencies at today's rate.",
        {"amount": {"type": "number"}, "source": {"type": "string", "description": "ISO code"}, "target": TEXT}, [],
    ),
    "set_timer": ("Start a countdown timer.", {"minutes": {"type": "integer"}, "label": TEXT}, ["label"]),
    "query_database": ("Run a read-only SQL query on the shop's database.", {"sql": TEXT}, []),
    "play_music": ("Play a song or an artist.", {"query": TEXT}, []),
    "find_restaurants": ("Find restaurants near a place.", {"place": TEXT, "cuisine": TEXT}, ["cuisine"]),
    "turn_light": (
        "Switch a light at home.", {"room": TEXT, "state": {"type": "string", "enum": ["on", "off"]}}, [],
    ),
    "git_log": ("Show the latest commits of the repository.", {"limit": {"type": "integer"}}, ["limit"]),
    "add_tags": ("Add tags to a note.", {"note": TEXT, "tags": {"type": "array", "items": TEXT}}, []),
}


@dataclass(frozen=True)
class Case:
    """`wants` names the tool that should be called, `holds` what its arguments must contain."""

    said: str | Sequence[Mapping[str, Any]]
    tools: str
    wants: str = ""
    holds: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.said}] if isinstance(self.said, str) else list(self.said)
        tools = [_tool(name) for name in self.tools.split()]
        return {"messages": messages, "tools": tools, "temperature": 0, "max_tokens": 200}


def _tool(name: str) -> dict[str, Any]:
    does, properties, optional = SIGNATURES[name]
    required = [parameter for parameter in properties if parameter not in optional]
    schema = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": does, "parameters": schema}}


def after(question: str, name: str, arguments: Mapping[str, Any], result: str, then: str = "") -> list[dict[str, Any]]:
    """A conversation in which a tool was called already."""
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    said: list[dict[str, Any]] = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
    ]
    return [*said, {"role": "user", "content": then}] if then else said


SKY = '{"temperature": 21, "sky": "clear"}'
CHOSEN_BY = [
    Case("What is the weather like in Rome right now?", "get_weather", "get_weather", {"city": "rome"}),
    Case("Is it raining in Oslo today?", "calculate get_weather read_file", "get_weather", {"city": "oslo"}),
    Case("What is 8231 * 977 exactly?", "calculate", "calculate", {"expression": "8231"}),
    Case("Show me what is in /etc/hosts.", "read_file list_directory", "read_file", {"path": "/etc/hosts"}),
    Case(
        "Which files are in the folder /srv/data?", "read_file list_directory write_file", "list_directory",
        {"path": "/srv/data"},
    ),
    Case(
        "Save the sentence 'Buy milk' to the file notes.txt.", "read_file write_file", "write_file",
        {"path": "notes.txt", "content": "buy milk"},
    ),
    Case(
        "Email ada@example.org that the meeting moved to noon, subject 'Meeting'.", "send_email create_event",
        "send_email", {"to": "ada@example.org", "subject": "meeting", "body": "noon"},
    ),
    Case(
        "Who won the most recent Formula 1 race? Look it up.", "search_web calculate", "search_web",
        {"query": "formula"},
    ),
    Case(
        "Add my dentist appointment on 2026-12-03 at 09:30 to the calendar.", "send_email create_event set_timer",
        "create_event", {"date": "2026-12-03", "title": "dentist"},
    ),
    Case(
        "How much is Nvidia stock at the moment?", "get_stock_price get_weather search_web calculate",
        "get_stock_price", {"symbol": "nvda"},
    ),
    Case(
        "How many euros are 250 US dollars today?", "calculate convert_currency", "convert_currency",
        {"amount": 250, "source": "usd", "target": "eur"},
    ),
    Case("Remind me in 15 minutes that the pasta is ready.", "set_timer get_weather", "set_timer", {"minutes": 15}),
    Case("Run the test suite with pytest please.", "run_command read_file", "run_command", {"command": "pytest"}),
    Case("How much disk space is free on this machine?", "run_command", "run_command", {"command": "df"}),
    Case(
        after("What is in config.ini?", "list_directory", {"path": "."}, "config.ini\nmain.py"),
        "read_file list_directory", "read_file", {"path": "config.ini"},
    ),
    Case(
        after("Weather in Rome?", "get_weather", {"city": "Rome"}, SKY, "And in Berlin?"), "get_weather",
        "get_weather", {"city": "berlin"},
    ),
    Case("Hello, how are you?", "get_weather calculate"),
    Case("What is the capital of France?", "get_weather"),
    Case("Write a haiku about the sea.", "read_file write_file run_command"),
    Case("Explain in two sentences what recursion is.", "run_command read_file"),
    Case("Thank you, that was all!", "send_email create_event"),
    Case("Write a Python function that adds two numbers. Just show it to me.", "calculate"),
    Case("Give me an example of a JSON object that describes a person.", "get_weather get_stock_price"),
    Case("Translate 'good morning' into Spanish.", "get_weather set_timer calculate"),
    Case("Which is the better name for a cat: Luna or Milo?", "search_web"),
    Case("What does the function len do in Python?", "read_file run_command list_directory"),
    Case("Suggest a polite subject line for an email about a late invoice. Do not send anything.", "send_email"),
    Case("What can you do with your tools?", "get_weather calculate read_file"),
    Case('How do I write a JSON tool call such as {"name": "f", "arguments": {}}? Explain the two keys.', "read_file"),
    Case(after("What is the weather like in Rome?", "get_weather", {"city": "Rome"}, SKY), "get_weather"),
    Case(
        after("What is 8231 * 977?", "calculate", {"expression": "8231 * 977"}, "8041687"), "calculate read_file",
    ),
    Case(
        after(
            "Save 'Buy milk' to notes.txt.", "write_file", {"path": "notes.txt", "content": "Buy milk"},
            "ok, 8 bytes written",
        ),
        "read_file write_file",
    ),
]
HELD_OUT = [
    Case("Play something by Nina Simone.", "play_music turn_light", "play_music", {"query": "nina simone"}),
    Case(
        "Switch off the light in the kitchen.", "turn_light play_music set_timer", "turn_light",
        {"room": "kitchen", "state": "off"},
    ),
    Case(
        "Where can I eat Thai food near the main station in Basel?", "find_restaurants get_weather",
        "find_restaurants", {"place": "basel", "cuisine": "thai"},
    ),
    Case("How many orders does the table orders hold?", "query_database", "query_database", {"sql": "count"}),
    Case("What were the last five commits?", "git_log read_file run_command", "git_log", {"limit": 5}),
    Case(
        "Tag the note 'Garden plan' with spring and vegetables.", "add_tags write_file", "add_tags",
        {"note": "garden plan", "tags": ["spring", "vegetables"]},
    ),
    Case(
        "Do I need an umbrella in Bergen this afternoon?", "search_web get_weather calculate play_music",
        "get_weather", {"city": "bergen"},
    ),
    Case("Please work out (1847 + 296) / 7 for me.", "calculate convert_currency", "calculate", {"expression": "1847"}),
    Case("Open README.md and tell me what it says.", "read_file git_log", "read_file", {"path": "readme.md"}),
    Case(
        "Write to bob@example.com that I am running ten minutes late.", "send_email", "send_email",
        {"to": "bob@example.com", "body": "late"},
    ),
    Case(
        after("Which tables are there?", "query_database", {"sql": "SHOW TABLES"}, "orders, customers",
              "How many customers are there?"),
        "query_database", "query_database", {"sql": "customers"},
    ),
    Case(
        after("Turn on the light in the hall.", "turn_light", {"room": "hall", "state": "on"}, "done",
              "And wake me in 20 minutes."),
        "turn_light set_timer", "set_timer", {"minutes": 20},
    ),
    Case("Good evening!", "turn_light play_music"),
    Case("Who wrote the novel Frankenstein?", "query_database read_file"),
    Case("What is the difference between a list and a tuple in Python?", "run_command git_log"),
    Case("Tell me a joke about cats.", "play_music search_web"),
    Case("Make this sentence shorter: 'I would like to inform you that the parcel has arrived.'", "send_email"),
    Case("Name three spices that go with pumpkin.", "find_restaurants set_timer"),
    Case("Show me an SQL statement that creates a table of books. I only want to read it.", "query_database"),
    Case("Is 17 a prime number?", "git_log add_tags"),
    Case("Great, thanks for your help.", "read_file write_file git_log"),
    Case("What does HTTP status 404 mean?", "get_weather get_stock_price search_web calculate"),
    Case(after("Play some jazz.", "play_music", {"query": "jazz"}, "playing: Take Five"), "play_music turn_light"),
    Case(
        after("How many orders are there?", "query_database", {"sql": "SELECT COUNT(*) FROM orders"}, "1204"),
        "query_database",
    ),
]


def right(message: Mapping[str, Any], case: Case) -> bool:
    """Whether the one call that was wanted was made, with arguments that are JSON and hold what they must."""
    calls = message.get("tool_calls") or []
    if len(calls) != 1 or calls[0]["function"]["name"] != case.wants:
        return False
    try:
        given = json.loads(calls[0]["function"]["arguments"])
    except ValueError:
        return False
    return all(_holds(given.get(name), value) for name, value in case.holds.items())


def _holds(given: Any, wanted: Any) -> bool:
    return wanted in given.lower() if isinstance(wanted, str) and isinstance(given, str) else given == wanted


def guessed(message: Mapping[str, Any], case: Case) -> dict[str, Any]:
    """The message with JSON that names one of the tools taken for a call, wherever it stands."""
    text = str(message.get("content") or "").replace("{{", "{").replace("}}}", "}}")
    for start in re.finditer(r"\{", text):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, start.start())
        except ValueError:
            continue
        if isinstance(found.get("arguments"), dict) and found.get("name") in case.tools.split():
            return {"tool_calls": [{"function": {"name": found["name"], "arguments": json.dumps(found["arguments"])}}]}
    return dict(message)


def score(messages: Sequence[Mapping[str, Any]], cases: Sequence[Case]) -> str:
    pairs = list(zip(messages, cases, strict=True))
    wanted, needless = [pair for pair in pairs if pair[1].wants], [pair for pair in pairs if not pair[1].wants]
    good, extra = sum(right(*pair) for pair in wanted), sum(bool(said.get("tool_calls")) for said, _ in needless)
    return f"right tool and arguments {good} of {len(wanted)}, called without need {extra} of {len(needless)}"


async def asked(client: UpstreamClient, route: Route, cases: Sequence[Case], *, adapted: bool) -> list[Any]:
    replies = []
    for case in cases:
        body = case.body()
        reply = await client.json(route, "/chat/completions", ENGINE_TOOLS.request(body) if adapted else body)
        replies.append((ENGINE_TOOLS.whole(reply, body) if adapted else reply)["choices"][0]["message"])
    return replies


async def main(model: Path) -> None:
    engine = await Engine.start(EngineSpec(model, "measured", slots=1), timeout_seconds=120)
    try:
        async with UpstreamClient(10, 600) as client:
            for name, cases in (("chosen by", CHOSEN_BY), ("held out", HELD_OUT)):
                plain = await asked(client, engine.route, cases, adapted=False)
                print(f"{name}, as it is: {score(plain, cases)}", flush=True)
                guesses = [guessed(message, case) for message, case in zip(plain, cases, strict=True)]
                print(f"{name}, JSON guessed: {score(guesses, cases)}", flush=True)
                adapted = await asked(client, engine.route, cases, adapted=True)
                print(f"{name}, engine_tools: {score(adapted, cases)}", flush=True)
                for message, case in zip(adapted, cases, strict=True):
                    if not right(message, case) if case.wants else message.get("tool_calls"):
                        said = json.dumps(message.get("tool_calls") or message.get("content"))
                        print(f"  {case.wants or 'no tool'}: {said[:200]}", flush=True)
    finally:
        await engine.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
