"""A small server of the Tinker API in this process, over a model of random weights: what SkyRL's answers and refuses.

It trains for real (a LoRA on all layers, AdamW) and in SkyRL's way: the loss of a row is divided by the sum of its
weights, a step's gradients by its number of rows. Futures are finished when they are handed out.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from metaclaw.training.gguf import MODULES
from metaclaw.training.sampling import sample
from tiny import tiny_model

INPUTS = {
    "cross_entropy": {"target_tokens", "weights"},
    "importance_sampling": {"target_tokens", "weights", "advantages", "logprobs"},
    "ppo": {"target_tokens", "weights", "advantages", "logprobs"},
}
Answer = dict[str, Any]


class Server:
    """`asked` lists what it was asked to do, in order; `learned` holds the learner that was made last."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""
        self.learned: Any = None
        self._optimiser: Any = None
        self._rows = 0
        self._base = tiny_model()
        self._kept: dict[str, tuple[dict[str, Any], Any]] = {}
        self._samplers: dict[str, dict[str, Any] | None] = {}
        self._results: dict[str, Answer] = {}
        self._lock = threading.Lock()

    def post(self, what: str, told: Answer) -> Answer:
        handle = getattr(self, f"_{what.replace('/', '_')}", None)
        if handle is None:
            return {"status": "accepted"}  # telemetry
        with self._lock:
            self.asked.append(what)
            return dict(handle(told))

    def archive(self, name: str) -> bytes:
        """The adapter as PEFT saves it, and a file that nobody asked for."""
        self._put(self._kept[name][0])
        packed = io.BytesIO()
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed, mode="w:gz") as archive:
            self.learned.save_pretrained(folder, save_embedding_layers=False)
            for path in sorted(Path(folder).iterdir()):
                archive.add(path, f"./deep/{path.name}")
        return packed.getvalue()

    def _client_config(self, told: Answer) -> Answer:
        return {}

    def _create_session(self, told: Answer) -> Answer:
        return {"type": "create_session", "session_id": "session"}

    def _session_heartbeat(self, told: Answer) -> Answer:
        return {"type": "session_heartbeat"}

    def _create_sampling_session(self, told: Answer) -> Answer:
        assert told["base_model"] == "tiny"
        self._samplers["base"] = None
        return {"type": "create_sampling_session", "sampling_session_id": "base"}

    def _retrieve_future(self, told: Answer) -> Answer:
        return self._results[told["request_id"]]

    def _create_model(self, told: Answer) -> Answer:
        from peft import LoraConfig, get_peft_model

        wanted = told["lora_config"]
        assert told["base_model"] == "tiny"
        assert not wanted["train_unembed"]
        model = tiny_model()
        torch.manual_seed(wanted["seed"])
        config = LoraConfig(
            r=wanted["rank"], lora_alpha=32, lora_dropout=0.0, task_type="CAUSAL_LM",
            target_modules=[path.rsplit(".", 1)[1] for path in MODULES],
        )
        self.learned = get_peft_model(model, config)
        self._optimiser = torch.optim.AdamW([p for p in self.learned.parameters() if p.requires_grad], weight_decay=0)
        self._optimiser.zero_grad()
        return self._later({"model_id": "run", "type": "create_model"})

    def _forward(self, told: Answer) -> Answer:
        with torch.no_grad():
            return self._later(self._passed(told["forward_input"]))

    def _forward_backward(self, told: Answer) -> Answer:
        return self._later(self._passed(told["forward_backward_input"]))

    def _passed(self, told: Answer) -> Answer:
        outputs = []
        for datum in told["data"]:
            inputs = {name: torch.tensor(tensor["data"]) for name, tensor in datum["loss_fn_inputs"].items()}
            assert set(inputs) <= INPUTS[told["loss_fn"]]
            ids = [token for chunk in datum["model_input"]["chunks"] for token in chunk["tokens"]]
            assert {len(values) for values in inputs.values()} == {len(ids)}
            said = _logprobs(self.learned, ids, inputs["target_tokens"])
            weights = inputs.get("weights", torch.ones(len(ids)))
            loss = (weights * _loss(told, inputs, said)).sum() / weights.sum().clamp_min(1e-9)
            if loss.requires_grad:
                torch.autograd.backward(loss)
                self._rows += 1
            data = said.tolist()
            outputs.append({"logprobs": {"data": data, "dtype": "float32", "shape": [len(data)]}})
        return {"loss_fn_output_type": "scalar", "loss_fn_outputs": outputs, "metrics": {}}

    def _optim_step(self, told: Answer) -> Answer:
        adam = told["adam_params"]
        for group in self._optimiser.param_groups:
            group |= {"lr": adam["learning_rate"], "betas": (adam["beta1"], adam["beta2"]), "eps": adam["eps"]}
            for parameter in group["params"]:
                parameter.grad = None if parameter.grad is None else parameter.grad / self._rows
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._rows = 0
        return self._later({"metrics": {}})

    def _save_weights(self, told: Answer) -> Answer:
        return self._later({"type": "save_weights", "path": f"tinker://run/weights/{self._keep(told['path'])}"})

    def _load_weights(self, told: Answer) -> Answer:
        adapter, optimiser = self._kept[told["path"].rsplit("/", 1)[1]]
        self._put(adapter)
        if told.get("optimizer"):
            self._optimiser.load_state_dict(_copy(optimiser))
        return self._later({"type": "load_weights", "path": told["path"]})

    def _save_weights_for_sampler(self, told: Answer) -> Answer:
        if told.get("path"):
            path = f"tinker://run/{self._keep(told['path'])}"
            return self._later({"type": "save_weights_for_sampler", "path": path})
        session = f"sampler-{told['sampling_session_seq_id']}"
        self._samplers[session] = self._adapter()
        return self._later({"type": "save_weights_for_sampler", "sampling_session_id": session})

    def _asample(self, told: Answer) -> Answer:
        adapter, wanted = self._samplers[told["sampling_session_id"]], told["sampling_params"]
        prompt = tuple(token for chunk in told["prompt"]["chunks"] for token in chunk["tokens"])
        model = self._base
        if adapter is not None:
            assert all(torch.equal(mine, adapter[name]) for name, mine in self._adapter().items())
            model = self.learned
        [end] = wanted.get("stop") or [0]
        seed = wanted.get("seed") or 0
        [drawn] = sample(model, [prompt], each=told["num_samples"], limit=wanted["max_tokens"], end=end, seed=seed)
        sequences = [{"stop_reason": "stop", "tokens": one.tokens, "logprobs": one.logprobs} for one in drawn]
        answer: Answer = {"type": "sample", "sequences": sequences}
        if told.get("prompt_logprobs"):
            with torch.no_grad():
                answer["prompt_logprobs"] = _logprobs(model, list(prompt[:-1]), torch.tensor(prompt[1:])).tolist()
        return self._later(answer)

    def _later(self, result: Answer) -> Answer:
        name = str(len(self._results))
        self._results[name] = result
        return {"request_id": name}

    def _keep(self, name: str) -> str:
        assert name not in self._kept, "no name is taken twice"
        self._kept[name] = self._adapter(), _copy(self._optimiser.state_dict())
        return name

    def _adapter(self) -> dict[str, Any]:
        return {name: p.detach().clone() for name, p in self.learned.named_parameters() if p.requires_grad}

    def _put(self, adapter: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, parameter in self.learned.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(adapter[name])


def _copy(state: Any) -> Any:
    kept = io.BytesIO()
    torch.save(state, kept)
    return torch.load(io.BytesIO(kept.getvalue()), weights_only=True)


def _logprobs(model: Any, ids: list[int], targets: Any) -> Any:
    said = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return said.gather(-1, targets[:, None])[:, 0]


def _loss(told: Answer, inputs: dict[str, Any], said: Any) -> Any:
    if told["loss_fn"] == "cross_entropy":
        return -said
    ratio, worth = (said - inputs["logprobs"]).exp(), inputs["advantages"]
    if told["loss_fn"] == "importance_sampling":
        return -ratio * worth
    clip = told["loss_fn_config"]
    return -torch.minimum(ratio * worth, ratio.clamp(clip["clip_low_threshold"], clip["clip_high_threshold"]) * worth)


@contextmanager
def tinker_server() -> Iterator[Server]:
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece: the client would wait 40 ms for the second
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
            try:
                self._send(200, json.dumps(served.post(self.path.removeprefix("/api/v1/"), told)).encode())
            except (AssertionError, KeyError) as error:  # the client would try again after an answer of 500
                self._send(422, json.dumps({"detail": repr(error)}).encode())

        def do_GET(self) -> None:
            if self.path.count("/") > 7:
                self._send(404, b"{}")  # as with SkyRL, a checkpoint's name holds no slash
            elif self.path.endswith("/archive"):
                where = f"{served.url}{self.path.removesuffix('archive')}download"
                expires = "Mon, 30 Nov 2099 06:00:00 GMT"
                self._send(302, b"", location=where, expires=expires)
            elif self.path.endswith("/download"):
                self._send(200, served.archive(self.path.split("/")[-2]))
            else:
                self._send(200, b'{"status": "ok", "supported_models": [{"model_name": "tiny"}]}')

        def _send(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    served.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
