"""The demo's working week: what a colleague's correction teaches is found for the exam, and for nothing plain."""

from __future__ import annotations

import pytest

from metaclaw.bench.demo.workload import CONVENTIONS, EXAM, KINDS, PRACTICE, Task, tasks
from metaclaw.config.request_path import ContextSettings
from metaclaw.context.retrieve import SkillIndex
from metaclaw.context.segment import skill_vectors
from metaclaw.evolve import extractive
from metaclaw.evolve.failure import Failure
from metaclaw.types import Check, Skill
from support import embedder, make_turn

SETTINGS = ContextSettings()


def learned(task: Task) -> Skill:
    skill = extractive.propose(Failure(make_turn(task.prompt, "wrong"), task.correction, Check(task.pattern)))
    assert skill is not None
    return skill


@pytest.mark.parametrize("seed", range(5))
def test_exam_questions_find_the_skill_of_their_kind_alone_and_plain_ones_none(seed: int) -> None:
    lessons = tasks(PRACTICE, dict.fromkeys(CONVENTIONS, 1), seed)
    kinds = {learned(lesson).name: lesson.kind for lesson in lessons}
    skills = [learned(lesson) for lesson in lessons]
    index = SkillIndex.of(skills, skill_vectors(skills, embedder().embed))
    asked = tasks(EXAM, dict.fromkeys(KINDS, 11), seed) + tasks(PRACTICE, dict.fromkeys(KINDS, 8), seed + 100)
    for task in asked:
        found = index.rank(task.prompt, embedder().embed, SETTINGS.max_skills, SETTINGS.min_score)
        if task.kind == "plain":
            assert found == [], task.prompt
        else:
            assert kinds[found[0].skill.name] == task.kind, task.prompt
