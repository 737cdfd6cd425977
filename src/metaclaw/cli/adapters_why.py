"""`metaclaw adapters why|diff|export`: where an adapter comes from, how two differ, its files for other programs."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, Rooms, load_settings, rooms, visible
from metaclaw.config.settings import Settings
from metaclaw.errors import TrainingError
from metaclaw.runtime.canary import canary_watch
from metaclaw.runtime.engines import Embedded
from metaclaw.runtime.home import Home
from metaclaw.serving.routes import RouteState
from metaclaw.serving.trial import decide, evidence_of, lift_in
from metaclaw.training.package import CONFIG_FILE, GGUF_FILE, MANIFEST_FILE, PEFT_FILE
from metaclaw.training.telling import in_words
from metaclaw.types import Adapter, Verdict

SHOWN = 10  # answers that differ, in words; JSON has all
SHOWN_CHARACTERS = 100

NameArgument = Annotated[str, typer.Argument(help="The adapter's name.")]


def why(
    name: NameArgument, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """What an adapter was made from, which skills it was taught, what admitted it, how it does, and how to undo it.

    Example: metaclaw adapters why lora-0123456789ab
    """
    settings = load_settings(config, data_dir)
    with rooms(settings) as opened:
        story = story_of(opened, settings, name)
    typer.echo(json.dumps(story) if as_json else visible("\n".join(_told(story))))


def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="An adapter's name.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another one's.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """How two adapters differ: lineage, data, verdicts, and their answers to what both were asked.

    Example: metaclaw adapters diff lora-0123456789ab lora-ba9876543210
    """
    settings = load_settings(config, data_dir)
    with rooms(settings) as opened:
        found = difference(opened, Home(settings).jobs, one, other)
    typer.echo(json.dumps(found) if as_json else visible("\n".join(_told_difference(found))))


def export(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="A folder that is not there yet, or empty.")],
    gguf: Annotated[bool, typer.Option("--gguf", help="Also the form that llama.cpp loads.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy an adapter's checked files: a PEFT folder, as transformers, vLLM and others load it.

    Example: metaclaw adapters export lora-0123456789ab ./my-adapter --gguf
    """
    with rooms(load_settings(config, data_dir)) as opened:
        adapter = opened.registry.checked(name)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise TrainingError(f"{folder} is there already and not empty: name another folder.")
    wanted = [PEFT_FILE, CONFIG_FILE, MANIFEST_FILE, *([GGUF_FILE] if gguf else [])]
    files = [file for file in wanted if (Path(adapter.folder) / file).is_file()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(Path(adapter.folder) / file, folder / file)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written: {error.strerror}.") from error
    told = {"adapter": name, "folder": str(folder), "files": files, "base_model": adapter.base_model}
    typer.echo(json.dumps(told) if as_json else f"{folder}: {', '.join(files)}; for {adapter.base_model}")


def story_of(opened: Rooms, settings: Settings, name: str) -> dict[str, Any]:
    """The story, as JSON says it. Raises `TrainingError` where there is no such adapter."""
    adapter = opened.registry.get(name)
    state = opened.routes.state()
    children = [one.name for one in opened.registry.all() if one.parent == name]
    return {
        "adapter": {key: value for key, value in asdict(adapter).items() if key != "lineage"},
        "service": state.service_of(name),
        "data": _data_of(adapter),
        "training": adapter.lineage.get("result", {}),
        "verdicts": [asdict(verdict) for verdict in opened.registry.verdicts(name)],
        "canary": _trial_so_far(opened, settings, adapter, state) if name == state.canary else None,
        "carried": [asdict(one) for one in opened.receipts.all() if one.adapter == name],
        "replaced": adapter.parent or "base",
        "compared_with_it_since": children,
        "stale": opened.registry.stale().get(name),
        "undo": _undo(state, name),
    }


def difference(opened: Rooms, jobs: Path, one: str, other: str) -> dict[str, Any]:
    """As JSON says it. Raises `TrainingError` where one of them is not there."""
    both = [opened.registry.get(name) for name in (one, other)]
    lines = [list(_ancestors(opened, adapter)) for adapter in both]
    trained = [_rows(adapter, "train", "replay") for adapter in both]
    answers = [_answers(jobs, adapter) for adapter in both]
    asked = [prompt for prompt in answers[0] if prompt in answers[1]]
    return {
        "a": one, "b": other,
        "base_models": [adapter.base_model for adapter in both],
        "ancestors": lines,
        "common_ancestor": next((name for name in [one, *lines[0]] if name in [other, *lines[1]]), "base"),
        "turns": {
            "only_a": sorted(trained[0].keys() - trained[1].keys()),
            "only_b": sorted(trained[1].keys() - trained[0].keys()),
            "both": len(trained[0].keys() & trained[1].keys()),
        },
        "skills": [_data_of(adapter)["skills"] for adapter in both],
        "training": _unlike(*(adapter.lineage.get("result", {}) for adapter in both)),
        "verdicts": [_figures(opened.registry.verdicts(adapter.name)) for adapter in both],
        "asked_of_both": len(asked),
        "answers_that_differ": [
            {"prompt": prompt, "a": answers[0][prompt], "b": answers[1][prompt]}
            for prompt in asked if answers[0][prompt] != answers[1][prompt]
        ],
    }


def _data_of(adapter: Adapter) -> dict[str, Any]:
    """The manifest, in figures."""
    manifest = adapter.lineage.get("manifest", [])
    taught = Counter(ref for row in manifest if row["split"] == "train" for ref in row.get("skills", ()))
    return {
        "splits": dict(Counter(row["split"] for row in manifest)),
        "generations": sorted({row["generation"] for row in manifest if "generation" in row}),
        "policies": dict(Counter(row["policy"] for row in manifest if "policy" in row)),
        "reasons": dict(Counter(row["reason"] for row in manifest if "reason" in row)),
        "left_out": adapter.lineage.get("left_out", {}),
        "skills": dict(taught),
    }


def _trial_so_far(opened: Rooms, settings: Settings, adapter: Adapter, state: RouteState) -> dict[str, Any]:
    watch = canary_watch(settings, Embedded(adapter.base_model, ""), opened.database)
    if state.canary_since is None:
        return {"step": "its engine is starting"}
    lift = lift_in(watch.sessions(state, adapter.name, state.canary_since), state.canary_share)
    step, told = decide(lift, watch.seconds_since(state.canary_since), watch.bar)
    return {"step": step.value, "told": told, **evidence_of(lift)}


def _undo(state: RouteState, name: str) -> str:
    if name == state.canary or (name == state.wanted and not state.canary):
        return "metaclaw adapters rollback"
    return "metaclaw adapters rollback, twice: the first takes back the trial" if name == state.wanted else ""


def _ancestors(opened: Rooms, adapter: Adapter) -> Iterator[str]:
    while adapter.parent:
        yield adapter.parent
        adapter = opened.registry.get(adapter.parent)


def _rows(adapter: Adapter, *splits: str) -> dict[str, Any]:
    return {row["turn_id"]: row for row in adapter.lineage.get("manifest", []) if row["split"] in splits}


def _answers(jobs: Path, adapter: Adapter) -> dict[str, str]:
    """What the gate heard of the adapter, by prompt: all of it as long as its job's files are there."""
    path = jobs / str(adapter.lineage.get("job", "")) / "comparison.json"
    if not path.is_file():
        return {}
    heard = json.loads(path.read_text(encoding="utf-8"))
    kinds = ("query", "retention", "unrelated", "safety", "extraction")
    return {pair["prompt"]: pair["candidate"] for kind in kinds for pair in heard.get(kind, [])}


def _figures(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [
        {"decision": one.decision, "baseline": one.baseline, "n": one.n, "effect": one.effect,
         "confidence": one.confidence}
        for one in verdicts
    ]  # fmt: skip


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {
        key: [one.get(key), other.get(key)] for key in sorted({*one, *other}) if one.get(key) != other.get(key)
    }


def _told(story: Mapping[str, Any]) -> Iterator[str]:
    adapter, data = story["adapter"], story["data"]
    made = datetime.fromtimestamp(adapter["created_at"]).astimezone().strftime("%Y-%m-%d %H:%M")
    yield f"{adapter['name']} ({adapter['state']}{', ' + story['service'] if story['service'] else ''})"
    yield f"  a LoRA on {adapter['base_model']}, made {made}, sha256 {adapter['sha256']}"
    if story["stale"]:
        yield f"  stale: {story['stale']}"
    yield from ("", "Made from")
    generations = ", ".join(map(str, data["generations"]))
    yield f"  turns: {_counts(data['splits']) or 'none known'}; of generation {generations}"
    yield f"  sampled by: {_counts(data['policies'])}"
    yield f"  because: {_counts(data['reasons'])}"
    if data["left_out"]:
        yield f"  left out: {_counts(data['left_out'])}"
    yield f"  skills taught: {_counts(data['skills']) or 'none'}"
    yield f"  training: {_counts(story['training']) or 'nothing told'}"
    yield from ("", f"It was to replace {story['replaced']}. Verdicts")
    for verdict in story["verdicts"]:
        yield f"  {verdict['decision']}"
        yield f"    against {verdict['baseline']}, n {verdict['n']}, effect {verdict['effect']:+.2f}, confidence " + (
            f"{verdict['confidence']:.3f}"
        )
        yield from (f"    {asked.lower()}: {said}" for asked, said in in_words(verdict["evidence"]))
    if not story["verdicts"]:
        yield "  none"
    if story["canary"]:
        yield from ("", "On trial", f"  {story['canary']['step']}: {story['canary'].get('told', '')}")
    if story["carried"]:
        yield from ("", "Skills that left the context, since the weights do without their text")
    for one in story["carried"]:
        right = f"{one['right_without']} of {one['n']} held-out prompts right, with it {one['right_with']}"
        back = "; it is back" if one["returned_at"] else ""
        yield f"  {one['name']}@{one['version']}: {right}; {one['tokens']} tokens less where it was injected{back}"
    if story["undo"]:
        yield from ("", "Undo", f"  {story['undo']}")


def _told_difference(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"a {found['a']} on {found['base_models'][0]}, after {' <- '.join(found['ancestors'][0]) or 'base'}"
    yield f"b {found['b']} on {found['base_models'][1]}, after {' <- '.join(found['ancestors'][1]) or 'base'}"
    yield f"nearest common ancestor: {found['common_ancestor']}"
    turns = found["turns"]
    yield f"trained on: {len(turns['only_a'])} turns only a, {len(turns['only_b'])} only b, {turns['both']} both"
    for which, skills in zip("ab", found["skills"], strict=True):
        yield f"  {which} was taught: {_counts(skills) or 'no skill'}"
    for key, (one, other) in found["training"].items():
        yield f"  {key}: a {_short(one)}, b {_short(other)}"
    for which, verdicts in zip("ab", found["verdicts"], strict=True):
        for verdict in verdicts:
            yield f"{which}, against {verdict['baseline']}: {verdict['decision']}"
    differ = found["answers_that_differ"]
    yield f"of {found['asked_of_both']} prompts that the gate asked both, {len(differ)} are answered differently"
    for answer in differ[:SHOWN]:
        yield f"  {_short(answer['prompt'])}\n    a: {_short(answer['a'])}\n    b: {_short(answer['b'])}"


def _counts(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{_short(name)} {_short(value)}" for name, value in counts.items())


def _short(value: Any) -> str:
    text = " ".join(f"{value:.4g}".split() if isinstance(value, float) else str(value).split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
