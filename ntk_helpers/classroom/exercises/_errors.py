"""Tell a learner about an error in their own function: what it says, and in which line."""

import re
import traceback
from collections.abc import Callable

FIRST_CELL = "run the notebook from its first cell (Run → Run All Above)"

# What an error says → what may help.
REMEDIES = {
    "(same dtype|scalar type).* float": (
        f"The inputs are float64, the course's default: {FIRST_CELL}."
    ),
    "argument 'input' .*must be tensor, not (float|int)": (
        "That is a plain number, not a tensor: use math.log, math.exp."
    ),
}


def explain(error: BaseException, answer: Callable) -> str:
    """Return what happened inside the learner's function, where, and what may help.

    Args:
        error: What it raised.
        answer: The learner's function.
    """
    words = _words(error)
    told = f"your function raised {type(error).__name__}: {words}{_place(error, answer)}"
    if type(error) is NameError:
        return (
            f"{told}\nThis notebook does not know that name yet: {FIRST_CELL}, or import it. "
            "Or is it misspelt?"
        )
    for said, remedy in REMEDIES.items():
        if re.search(said, words, re.IGNORECASE):
            return f"{told}\n{remedy}"
    return told


def _words(error: BaseException) -> str:
    """Return the first line of a learner's error, whatever that error does.

    Some versions of torch go on with a list of all signatures.
    """
    try:
        return str(error).strip().partition("\n")[0]
    except Exception:
        return "an error without a message"


def _place(error: BaseException, answer: Callable) -> str:
    """Return the line, in the cell or file of the learner's function, that led to the error."""
    home = getattr(getattr(answer, "__code__", None), "co_filename", None)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if frame.filename == home and frame.line]
    return f"\nIn line {lines[-1].lineno}: `{lines[-1].line}`" if lines else ""
