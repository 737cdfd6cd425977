"""An agent as people write them with the OpenAI client: one tool, and a loop until the model calls it no more."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from openai import OpenAI

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "run_command",
        "description": "Run a shell command and return what it prints.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    },
}


def main(task: str, stream: bool) -> None:
    client = OpenAI()  # where to and with what key: the environment says
    messages: list[Any] = [{"role": "user", "content": task}]
    while True:
        message = ask(client, messages, stream)
        messages.append(message)
        if not message.get("tool_calls"):
            print(message["content"])
            return
        for call in message["tool_calls"]:
            command = json.loads(call["function"]["arguments"])["command"]
            said = subprocess.run(command, shell=True, capture_output=True, text=True).stdout  # noqa: S602
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})


def ask(client: OpenAI, messages: list[Any], stream: bool) -> Any:
    asked: dict[str, Any] = {"model": "scripted", "messages": messages, "tools": [TOOL]}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            return events.get_final_completion().choices[0].message.model_dump(exclude_none=True)
    return client.chat.completions.create(**asked).choices[0].message.model_dump(exclude_none=True)


main(sys.argv[1], sys.argv[2] == "stream")
