"""An agent on the OpenAI client's newer API: one tool, and a loop until the model calls it no more."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from openai import OpenAI

TOOL: Any = {
    "type": "function",
    "name": "run_command",
    "description": "Run a shell command and return what it prints.",
    "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    "strict": False,
}


def main(task: str, stream: bool) -> None:
    client = OpenAI()
    history: list[Any] = [{"role": "user", "content": task}]
    while True:
        reply = ask(client, history, stream)
        history += [item.model_dump(exclude_none=True) for item in reply.output]
        calls = [item for item in reply.output if item.type == "function_call"]
        if not calls:
            print(reply.output_text)
            return
        for call in calls:
            command = json.loads(call.arguments)["command"]
            said = subprocess.run(command, shell=True, capture_output=True, text=True).stdout  # noqa: S602
            history.append({"type": "function_call_output", "call_id": call.call_id, "output": said})


def ask(client: OpenAI, history: list[Any], stream: bool) -> Any:
    asked: dict[str, Any] = {"model": "scripted", "input": history, "tools": [TOOL]}
    if stream:
        with client.responses.stream(**asked) as events:
            return events.get_final_response()
    return client.responses.create(**asked)


main(sys.argv[1], sys.argv[2] == "stream")
