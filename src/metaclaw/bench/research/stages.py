"""The 23 stages: what each is asked, what it is shown, its contract, and a worked answer.

The tasks say what is wanted in general; the rules of this laboratory are told when they are broken, as a colleague
would. Each has an example, and none names a topic.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import Any

from metaclaw.bench.research.corpus import papers
from metaclaw.bench.research.stage import NUMBER, TEXT, WHOLE, Rule, Stage, one_of, record, several
from metaclaw.bench.research.study import Study, cited
from metaclaw.bench.research.topics import ROLES

SECTIONS = ["Introduction", "Method", "Results", "Limitations", "References"]
QUALITY = ["citations", "numbers", "limitations", "reproducible"]
VERBS = ("Added", "Removed", "Reworded", "Corrected")


def listed(found: Sequence[Any]) -> str:
    return "\n".join(f"{paper.key} ({paper.year}): {paper.title}" for paper in found)


def abstracts(found: Sequence[Any]) -> str:
    return "\n".join(f"{paper.key}: {paper.title}. {paper.abstract}" for paper in found)


def methods(study: Study) -> str:
    topic = study.topic
    return f"The claim is that {study.claimed} is better. Candidate: {topic.candidate}. Baseline: {topic.baseline}. " \
        f"Ablation: {topic.ablation}. Metric: {topic.metric} ({topic.direction} is better)."


def in_order(words: Sequence[str], wanted: Sequence[str]) -> bool:
    return list(words) == list(wanted)


def _function(code: str) -> bool:
    names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    return "measure" in names


def _prints(code: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(ast.parse(code)))


def _worth_keeping(study: Study) -> set[str]:
    return {paper.key for paper in study.collected if paper.about and not paper.retracted}


def _reason(paper: Any) -> str:
    return "retracted" if paper.retracted else "relevant" if paper.about else "off topic"


def _references(study: Study) -> list[str]:
    return sorted(cited(*study.answers["draft"].values()))


STAGES: tuple[Stage, ...] = (
    Stage(
        "topic", "Name the study and put its question.",
        lambda study: record(title=TEXT, question=TEXT),
        (
            Rule("The title names both methods with `versus` between them. For example: `lasso versus ridge`.",
                 lambda a, s: " versus " in a["title"].lower()),
            Rule("The question ends with a question mark and names the metric. For example: `Which has the lower error"
                 " rate?`",
                 lambda a, s: a["question"].strip().endswith("?") and s.topic.metric in a["question"].lower()),
        ),
        lambda s: {"title": f"{s.topic.candidate} versus {s.topic.baseline}",
                   "question": f"Which has the {s.topic.direction} {s.topic.metric}?"},
        lambda s: f"{s.topic.brief} {methods(s)}",
    ),
    Stage(
        "decomposition", "Split the question into sub-questions.",
        lambda study: record(sub_questions=several(TEXT, 5)),
        (
            Rule("There are at least three sub-questions, each with a question mark at its end.",
                 lambda a, s: len(a["sub_questions"]) >= 3
                 and all(one.strip().endswith("?") for one in a["sub_questions"])),
            Rule("The last sub-question starts with `When does` and asks where the method fails. For example: `When"
                 " does it fail?`",
                 lambda a, s: a["sub_questions"][-1].startswith("When does")),
        ),
        lambda s: {"sub_questions": ["What is known?", "How is it measured?", "When does it fail?"]},
        lambda s: f"Question: {s.get('topic', 'question')}",
    ),
    Stage(
        "search strategy", "Write the queries for the literature search, and the first year to include.",
        lambda study: record(queries=several(TEXT, 5), since=WHOLE),
        (
            Rule("There are at least three queries of two to four words each. For example: `gradient clipping"
                 " stability`.",
                 lambda a, s: len(a["queries"]) >= 3 and all(2 <= len(q.split()) <= 4 for q in a["queries"])),
            Rule("One of the queries contains the word survey. For example: `clipping survey`.",
                 lambda a, s: any("survey" in q.lower() for q in a["queries"])),
            Rule("The search goes back to 2015 and no further: `since` is 2015.", lambda a, s: a["since"] == 2015),
        ),
        lambda s: {"queries": [f"{s.topic.candidate.split()[0]} study", f"{s.topic.metric.split()[-1]} survey",
                               f"{s.topic.baseline.split()[0]} limits"], "since": 2015},
        lambda s: f"Question: {s.get('topic', 'question')}",
    ),
    Stage(
        "collection", "Choose papers from what the search found, by their keys.",
        lambda study: record(keys=several(one_of([paper.key for paper in study.found]), 9)),
        (
            Rule("At least six papers are collected, none of them twice.",
                 lambda a, s: len(set(a["keys"])) == len(a["keys"]) >= 6),
            Rule("Nothing older than 2015 is collected.",
                 lambda a, s: all(p.year >= 2015 for p in papers(s.topic) if p.key in a["keys"])),
        ),
        lambda s: {"keys": [paper.key for paper in s.found if paper.year >= 2015]},
        lambda s: f"Found:\n{listed(s.found)}",
    ),
    Stage(
        "screening", "Decide for each paper whether it is kept, with a reason.",
        lambda study: record(decisions=several(
            record(key=one_of([paper.key for paper in study.collected]), keep={"type": "boolean"}, reason=TEXT), 9)),
        (
            Rule("Each collected paper has one decision.",
                 lambda a, s: sorted(d["key"] for d in a["decisions"]) == sorted(p.key for p in s.collected)),
            Rule("Retracted papers and those about something else are not kept; all others are.",
                 lambda a, s: {d["key"] for d in a["decisions"] if d["keep"]} == _worth_keeping(s)),
            Rule("The reason is one of these words, and no others: relevant, off topic, retracted.",
                 lambda a, s: all(d["reason"] in ("relevant", "off topic", "retracted") for d in a["decisions"])),
        ),
        lambda s: {"decisions": [{"key": p.key, "keep": p.key in _worth_keeping(s), "reason": _reason(p)}
                                 for p in s.collected]},
        lambda s: f"Collected:\n{abstracts(s.collected)}",
        back_to="collection",
    ),
    Stage(
        "extraction", "Take the reported figure out of each paper.",
        lambda study: record(facts=several(
            record(key=one_of([paper.key for paper in study.kept]), number=NUMBER, unit=TEXT), 9)),
        (
            Rule("Each kept paper has one fact, with the number that stands in its abstract before the word percent.",
                 lambda a, s: {f["key"]: f["number"] for f in a["facts"]} == {p.key: p.percent for p in s.kept}
                 and len(a["facts"]) == len(s.kept)),
            Rule("The unit is written out: `percent`, not a sign.",
                 lambda a, s: all(f["unit"] == "percent" for f in a["facts"])),
        ),
        lambda s: {"facts": [{"key": p.key, "number": p.percent, "unit": "percent"} for p in s.kept]},
        lambda s: f"Kept:\n{abstracts(s.kept)}",
    ),
    Stage(
        "synthesis", "Say what the papers have in common, as claims with the keys of the papers that carry them.",
        lambda study: record(claims=several(
            record(text=TEXT, keys=several(one_of([paper.key for paper in study.kept]), 9)), 3)),
        (
            Rule("There are at least two claims, and each is carried by at least two different papers.",
                 lambda a, s: len(a["claims"]) >= 2 and all(len(set(c["keys"])) >= 2 for c in a["claims"])),
            Rule("Each claim starts with `Across studies,`. For example: `Across studies, errors fell.`",
                 lambda a, s: all(c["text"].startswith("Across studies,") for c in a["claims"])),
        ),
        lambda s: {"claims": [{"text": f"Across studies, {what}.", "keys": [p.key for p in s.kept[:2]]}
                              for what in ("values improved", "trials were few")]},
        lambda s: f"Kept:\n{abstracts(s.kept)}",
    ),
    Stage(
        "hypotheses", "State the hypothesis, its metric, and what would refute it.",
        lambda study: record(statement=TEXT, metric=TEXT, refuted_if=TEXT),
        (
            Rule("The statement names the method that the claim says is better, and the metric.",
                 lambda a, s: s.claimed in a["statement"].lower() and s.topic.metric in a["statement"].lower()),
            Rule("`metric` is the study's metric and nothing else.",
                 lambda a, s: a["metric"].lower() == s.topic.metric),
            Rule("`refuted_if` says over how many seeds, as `over N seeds`. For example: `the mean is not lower over 5"
                 " seeds`.",
                 lambda a, s: re.search(r"over \d+ seeds", a["refuted_if"])),
        ),
        lambda s: {"statement": f"{s.claimed} has the better {s.topic.metric}.", "metric": s.topic.metric,
                   "refuted_if": "its mean is not better over 3 seeds"},
        methods,
    ),
    Stage(
        "design", "Design the experiment: its conditions with their roles, and its seeds.",
        lambda study: record(
            conditions=several(record(name=TEXT, role=one_of([*ROLES, "other"])), 4), seeds=several(WHOLE, 8)),
        (
            Rule("There is a candidate, a baseline and an ablation, one of each and nothing else.",
                 lambda a, s: sorted(c["role"] for c in a["conditions"]) == sorted(ROLES)),
            Rule("There are at least five seeds, all different, counted from 1. For example: [1, 2, 3, 4, 5].",
                 lambda a, s: len(a["seeds"]) >= 5 and a["seeds"] == list(range(1, len(a["seeds"]) + 1))),
        ),
        lambda s: {"conditions": [{"name": getattr(s.topic, role), "role": role} for role in ROLES],
                   "seeds": [1, 2, 3, 4, 5]},
        methods, back_to="hypotheses",
    ),
    Stage(
        "code", "Write the experiment as a Python function measure(seed) that returns a dict with the keys candidate,"
        " baseline and ablation.",
        lambda study: record(code=TEXT),
        (
            Rule("The code is Python that compiles and defines `measure`.", lambda a, s: _function(a["code"])),
            Rule("The code prints nothing: no call of `print`.", lambda a, s: not _prints(a["code"])),
        ),
        lambda s: {"code": s.topic.program},
        lambda s: f"The experiment, for one seed: {s.topic.steps}",
    ),
    Stage(
        "resources", "Say how many runs there are, and what one needs at most.",
        lambda study: record(runs=WHOLE, seconds_per_run=NUMBER, memory_mb=WHOLE),
        (
            Rule("`runs` is the number of seeds times the number of conditions.",
                 lambda a, s: a["runs"] == len(s.seeds) * len(ROLES)),
            Rule("No run is given more than 10 seconds or more than 256 MB.",
                 lambda a, s: 0 < a["seconds_per_run"] <= 10 and 0 < a["memory_mb"] <= 256),
        ),
        lambda s: {"runs": len(s.seeds) * len(ROLES), "seconds_per_run": 5, "memory_mb": 128},
        lambda s: f"Seeds: {s.seeds}. Conditions: {', '.join(ROLES)}.",
    ),
    Stage(
        "run", "Give the order to run: the seeds, and the label of the run.",
        lambda study: record(seeds=several(WHOLE, 8), label=TEXT),
        (
            Rule("The seeds are those of the design, in the same order.", lambda a, s: a["seeds"] == s.seeds),
            Rule("The label is `run-` and a number of three digits. For example: `run-001`.",
                 lambda a, s: re.fullmatch(r"run-\d{3}", a["label"])),
        ),
        lambda s: {"seeds": s.seeds, "label": "run-001"},
        lambda s: f"Seeds of the design: {s.seeds}.",
    ),
    Stage(
        "refine", "Propose one change to the experiment that would make its result surer.",
        lambda study: record(condition=one_of(ROLES), change=TEXT, because=TEXT),
        (
            Rule("`because` quotes the mean of the condition with its three decimals. For example: `its mean is"
                 " 0.125`.",
                 lambda a, s: f"{s.means[a['condition']]:.3f}" in a["because"]),
            Rule("`change` says what it was and what it becomes, as `from ... to ...`. For example: `from 5 to 20"
                 " seeds`.",
                 lambda a, s: re.search(r"\bfrom .+ to .+", a["change"])),
        ),
        lambda s: {"condition": "candidate", "change": "from 5 to 20 seeds",
                   "because": f"its mean is {s.means['candidate']:.3f}"},
        lambda s: f"Results:\n{s.table}",
    ),
    Stage(
        "analysis", "Analyse the results.",
        lambda study: record(candidate_mean=NUMBER, baseline_mean=NUMBER, better=one_of(["candidate", "baseline"]),
                             sentence=TEXT),
        (
            Rule("The means are those of the table, with all three decimals.",
                 lambda a, s: math.isclose(a["candidate_mean"], s.means["candidate"], abs_tol=5e-4)
                 and math.isclose(a["baseline_mean"], s.means["baseline"], abs_tol=5e-4)),
            Rule("`better` is the condition with the better mean of the two, by the direction of the metric.",
                 lambda a, s: (a["better"] == "candidate") == s.candidate_is_better),
            Rule("The sentence ends with the number of seeds in brackets. For example: `It was lower (n = 5).`",
                 lambda a, s: re.search(rf"\(n = {len(s.seeds)}\)\.?$", a["sentence"].strip())),
        ),
        lambda s: {"candidate_mean": s.means["candidate"], "baseline_mean": s.means["baseline"],
                   "better": "candidate" if s.candidate_is_better else "baseline",
                   "sentence": f"The means differ (n = {len(s.seeds)})."},
        lambda s: f"{methods(s)}\nResults over {len(s.seeds)} seeds:\n{s.table}",
    ),
    Stage(
        "decision",
        "Decide how to go on: proceed with the claim, refine the experiment, or pivot to the opposite claim.",
        lambda study: record(decision=one_of(["proceed", "refine", "pivot"]), because=TEXT),
        (
            Rule("Proceed where the figures bear the claim out; where the other method is better, pivot.",
                 lambda a, s: a["decision"] == ("proceed" if s.claim_holds else "pivot")),
            Rule("`because` starts with the metric's name and a colon. For example: `error rate: 0.1 against 0.2`.",
                 lambda a, s: a["because"].lower().startswith(f"{s.topic.metric}:")),
        ),
        lambda s: {"decision": "proceed" if s.claim_holds else "pivot",
                   "because": f"{s.topic.metric}: {s.means['candidate']} against {s.means['baseline']}"},
        lambda s: f"{methods(s)}\nResults:\n{s.table}",
    ),
    Stage(
        "outline", "List the sections of the paper.",
        lambda study: record(sections=several(TEXT, 8)),
        (
            Rule(f"The sections are, in this order and with no others: {', '.join(SECTIONS)}.",
                 lambda a, s: in_order(a["sections"], SECTIONS)),
        ),
        lambda s: {"sections": SECTIONS},
    ),
    Stage(
        "draft", "Write three sections of the paper.",
        lambda study: record(introduction=TEXT, results=TEXT, limitations=TEXT),
        (
            Rule("The introduction cites at least two kept papers, each as [@key]. For example: `It is known"
                 " [@smith2001].`",
                 lambda a, s: len(cited(a["introduction"])) >= 2),
            Rule("Only kept papers are cited.",
                 lambda a, s: cited(*(a[one] for one in ("introduction", "results", "limitations")))
                 <= {paper.key for paper in s.kept}),
            Rule("The results give both means with three decimals.",
                 lambda a, s: all(f"{s.means[role]:.3f}" in a["results"] for role in ("candidate", "baseline"))),
            Rule("The limitations start with `This study is small`.",
                 lambda a, s: a["limitations"].startswith("This study is small")),
        ),
        lambda s: {
            "introduction": "Much is known " + " ".join(f"[@{p.key}]" for p in s.kept[:2]) + ".",
            "results": f"The means are {s.means['candidate']:.3f} and {s.means['baseline']:.3f}.",
            "limitations": "This study is small and its data made up.",
        },
        lambda s: f"Kept papers: {', '.join(p.key for p in s.kept)}.\nResults:\n{s.table}",
    ),
    Stage(
        "review", "Review the draft as a critical colleague.",
        lambda study: record(points=several(record(id=TEXT, severity=one_of(["minor", "major"]), text=TEXT), 4)),
        (
            Rule("There are at least two points, numbered R1, R2 and so on.",
                 lambda a, s: len(a["points"]) >= 2
                 and in_order([p["id"] for p in a["points"]], [f"R{n + 1}" for n in range(len(a["points"]))])),
            Rule("Just one point is major: the first.",
                 lambda a, s: [p["id"] for p in a["points"] if p["severity"] == "major"] == ["R1"]),
        ),
        lambda s: {"points": [{"id": "R1", "severity": "major", "text": "Few seeds."},
                              {"id": "R2", "severity": "minor", "text": "No plot."}]},
        lambda s: f"Results section: {s.get('draft', 'results')}\nLimitations: {s.get('draft', 'limitations')}",
    ),
    Stage(
        "revision", "Say what was changed for each point of the review.",
        lambda study: record(changes=several(record(id=TEXT, change=TEXT), 4)),
        (
            Rule("Each point of the review has one change, in the same order.",
                 lambda a, s: in_order([c["id"] for c in a["changes"]], [p["id"] for p in s.get("review", "points")])),
            Rule(f"A change starts with one of these words: {', '.join(VERBS)}. For example: `Added a plot.`",
                 lambda a, s: all(c["change"].startswith(VERBS) for c in a["changes"])),
        ),
        lambda s: {"changes": [{"id": p["id"], "change": "Added a remark."} for p in s.get("review", "points")]},
        lambda s: "Review:\n" + "\n".join(f"{p['id']}: {p['text']}" for p in s.get("review", "points") or []),
    ),
    Stage(
        "quality", "Check the quality of the paper, point by point, and give it marks out of 10.",
        lambda study: record(checks=several(record(name=TEXT, passed={"type": "boolean"}), 6), marks=WHOLE),
        (
            Rule(f"The points are, in this order: {', '.join(QUALITY)}.",
                 lambda a, s: in_order([c["name"] for c in a["checks"]], QUALITY)),
            Rule("The marks are at least 7 where all points passed, and below 7 else.",
                 lambda a, s: 0 <= a["marks"] <= 10 and (a["marks"] >= 7) == all(c["passed"] for c in a["checks"])),
        ),
        lambda s: {"checks": [{"name": name, "passed": True} for name in QUALITY], "marks": 8},
        lambda s: f"Results section: {s.get('draft', 'results')}\nLimitations: {s.get('draft', 'limitations')}",
        back_to="revision",
    ),
    Stage(
        "archive", "Name the files of the archive: code, results and draft.",
        lambda study: record(files=several(TEXT, 5)),
        (
            Rule("The files are called by the study's short name, two underscores, and what they hold. For example:"
                 " `lasso__code.py`, `lasso__results.json`, `lasso__draft.md`.",
                 lambda a, s: sorted(a["files"]) == sorted(
                     f"{s.topic.slug}__{what}" for what in ("code.py", "results.json", "draft.md"))),
        ),
        lambda s: {"files": [f"{s.topic.slug}__{what}" for what in ("code.py", "results.json", "draft.md")]},
        lambda s: f"The study's short name: {s.topic.slug}.",
    ),
    Stage(
        "export", "Write the lines of the front matter: title, status, seeds.",
        lambda study: record(lines=several(TEXT, 5)),
        (
            Rule("There are three lines, which start with `title: `, `status: ` and `seeds: `, in this order.",
                 lambda a, s: [line.partition(": ")[0] for line in a["lines"]] == ["title", "status", "seeds"]),
            Rule("The status is `for review`, in these words: `status: for review`.",
                 lambda a, s: "status: for review" in a["lines"]),
        ),
        lambda s: {"lines": [f"title: {s.get('topic', 'title')}", "status: for review", f"seeds: {len(s.seeds)}"]},
        lambda s: f"Title: {s.get('topic', 'title')}. Seeds: {s.seeds}.",
    ),
    Stage(
        "citations", "Write the list of references for what the introduction cites.",
        lambda study: record(entries=several(record(key=TEXT, year=WHOLE), 9)),
        (
            Rule("The entries are just the papers that the draft cites, in the order of their keys.",
                 lambda a, s: in_order([e["key"] for e in a["entries"]], _references(s))),
            Rule("Each year is that of the paper.",
                 lambda a, s: {(e["key"], e["year"]) for e in a["entries"]}
                 <= {(paper.key, paper.year) for paper in papers(s.topic)}),
        ),
        lambda s: {"entries": [{"key": p.key, "year": p.year} for p in papers(s.topic)
                               if p.key in _references(s)]},
        lambda s: f"Introduction: {s.get('draft', 'introduction')}\nKept:\n{listed(s.kept)}",
    ),
)  # fmt: skip
BY_NAME = {stage.name: stage for stage in STAGES}
