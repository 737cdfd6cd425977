"""ACE (`ace-framework`) as its integrations use it: its playbook goes before a question, then it reflects and curates.

The bench asks the question, so that all arms are asked alike; reflector and curator (three retries where their JSON is
not to be read, the default) ask the same model, behind the meter. Runs in its own environment, by `side.py`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_TOKENS = 1_000  # of a reply: its default of 2,048 is for models that do not ramble


class Side:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.version = importlib.metadata.version("ace-framework")
        self._ace: Any = importlib.import_module("ace")
        self._file = Path(config["folder"]) / "skillbook.json"
        client = importlib.import_module("ace.llm_providers.litellm_client").LiteLLMClient(
            model=f"openai/{config['model']}", api_key="none", api_base=config["url"], max_tokens=MOST_TOKENS
        )
        self._reflector, self._curator = self._ace.Reflector(client), self._ace.SkillManager(client)
        book = self._ace.Skillbook
        self._book = book.load_from_file(str(self._file)) if self._file.exists() else book()

    def before(self, _asked: str) -> str:
        wrap = importlib.import_module("ace.integrations").wrap_skillbook_context
        return str(wrap(self._book)) if self._book.skills() else ""

    def after(self, asked: str, answered: str, said: str, _right: bool) -> None:
        output = importlib.import_module("ace.roles").AgentOutput(
            reasoning=f"Question: {asked}\nAnswer: {answered}", final_answer=answered, skill_ids=[], raw={}
        )
        reflection = self._reflector.reflect(
            question=asked, agent_output=output, skillbook=self._book, ground_truth=None, feedback=said
        )
        curated = self._curator.update_skills(
            reflection=reflection, skillbook=self._book, question_context=f"task: {asked}", progress=said
        )
        self._book.apply_update(curated.update)
        self._book.save_to_file(str(self._file))

    def holds(self) -> int:
        return len(self._book.skills())
