"""An agent as people write them with the Anthropic client: one tool, and a loop until the model uses it no more."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from anthropic import Anthropic

TOOL: Any = {
    "name": "run_command",
    "description": "Run a shell command and return what it prints.",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}


def main(task: str, stream: bool) -> None:
    client = Anthropic()  # where to and with what key: the environment says
    messages: list[Any] = [{"role": "user", "content": task}]
    while True:
        reply = ask(client, messages, stream)
        messages.append({"role": "assistant", "content": reply.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": printed_by(block.input["command"])}
            for block in reply.content
            if block.type == "tool_use"
        ]
        if not results:
            print(reply.content[0].text)
            return
        messages.append({"role": "user", "content": results})


def ask(client: Anthropic, messages: list[Any], stream: bool) -> Any:
    asked: dict[str, Any] = {"model": "scripted", "max_tokens": 500, "messages": messages, "tools": [TOOL]}
    if stream:
        with client.messages.stream(**asked) as events:
            return events.get_final_message()
    return client.messages.create(**asked)


def printed_by(command: str) -> str:
    return subprocess.run(command, shell=True, capture_output=True, text=True).stdout  # noqa: S602 - its task


main(sys.argv[1], sys.argv[2] == "stream")
