"""Count the exercises that a learner has solved, lesson by lesson."""

import dataclasses
import functools
from collections.abc import Callable, Iterable

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.progress import keep, kept

LESSONS: dict[str, set[str]] = {}  # "00", …, "deeper" → the names of its checkers
_solved: set[str] = set()  # the checkers that have said "correct" in this kernel


def counted(checker: Callable) -> Callable:
    """Let a checker end its feedback with how many exercises of its lesson are solved."""
    lesson = checker.__module__.rpartition(".")[2].removeprefix("lesson_")
    name = checker.__name__
    LESSONS.setdefault(lesson, set()).add(name)

    @functools.wraps(checker)
    def check(answer: Callable) -> Feedback:
        feedback = checker(answer)
        if feedback.passed:
            _solved.add(name)
            keep("exercises", name, True)
        done, of = count_solved({*_solved, *kept("exercises")})[lesson]
        line = f"{done} of {of} exercises of {title(lesson)} solved."
        return dataclasses.replace(feedback, message=f"{feedback.message}\n{line}")

    return check


def title(lesson: str) -> str:
    """Return how a sentence calls a lesson: lesson 01, or the deeper notebooks."""
    return f"lesson {lesson}" if lesson.isdigit() else f"the {lesson} notebooks"


def count_solved(solved: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return for each lesson how many of its checkers are among `solved`, and how many it has."""
    return {
        lesson: (len(names & {*solved}), len(names)) for lesson, names in sorted(LESSONS.items())
    }
