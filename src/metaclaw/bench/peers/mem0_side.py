"""mem0 (`mem0ai`) as its quickstart has it, all local: the model behind the meter, Qdrant in a folder, static vectors.

`infer` on, the default: after each exchange mem0 has the model write memories. Off: what the user said of what was
asked is stored as it is, for answers that were wrong. Runs in its own environment, by `side.py`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

USER = "office"
MOST = 10_000
TOP = 8  # as many as our own default gives a request
HEAD = "What you remember of this office and its user:"


class Side:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.version = importlib.metadata.version("mem0ai")
        self._infer = bool(config["infer"])
        folder = config["folder"]
        self._memory: Any = importlib.import_module("mem0").Memory.from_config({
            "llm": {"provider": "openai", "config": {
                "model": config["model"], "openai_base_url": config["url"], "api_key": "none",
                "temperature": 0, "max_tokens": 600,
            }},
            "embedder": {"provider": "langchain", "config": {"model": _embeddings(), "embedding_dims": 256}},
            "vector_store": {"provider": "qdrant", "config": {
                "path": f"{folder}/qdrant", "on_disk": True, "collection_name": USER, "embedding_model_dims": 256,
            }},
            "history_db_path": f"{folder}/history.db",
        })  # fmt: skip

    def before(self, asked: str) -> str:
        found = self._memory.search(asked, filters={"user_id": USER}, top_k=TOP)["results"]
        lines = [f"- {one['memory']}" for one in found]
        return "\n".join([HEAD, *lines]) if lines else ""

    def after(self, asked: str, answered: str, said: str, right: bool) -> None:
        if self._infer:
            exchange = [("user", asked), ("assistant", answered), ("user", said)]
            self._memory.add([{"role": role, "content": text} for role, text in exchange], user_id=USER)
        elif not right:
            told = f"Asked: {asked[:160]}\n  The user said: {said}"  # in the words of the arm `feedback-log`
            self._memory.add([{"role": "user", "content": told}], user_id=USER, infer=False)

    def holds(self) -> int:
        return len(self._memory.get_all(filters={"user_id": USER}, top_k=MOST)["results"])


def _embeddings() -> Any:
    """WordLlama as LangChain's `Embeddings`: its weights come in its package, so that nothing is downloaded."""
    package = importlib.import_module("wordllama")
    model = package.WordLlama.load(cache_dir=Path(package.__file__ or "").parent, disable_download=True)
    base: Any = importlib.import_module("langchain_core.embeddings").Embeddings

    class Local(base):  # type: ignore[misc]  # a class of the peer's environment
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[float(value) for value in row] for row in model.embed(texts, norm=True)]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return Local()
