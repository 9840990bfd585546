"""What a checker says, as text and, with a sign and a colour, in a notebook."""

import re
from dataclasses import dataclass
from html import escape

# The first sign of a message tells what it is, and so does the colour at its side.
COLORS = {
    "✓": "#009E73",  # right
    "✗": "#D55E00",  # wrong
    "⚠": "#CC79A7",  # an error in the learner's code
    "…": "#767676",  # nothing written yet
}
FRAME = (
    '<div class="ntk-feedback" style="border-left: 4px solid {color}; padding: 2px 10px">'
    "{lines}</div>"
)


@dataclass(frozen=True)
class Feedback:
    """What a checker says; a notebook shows its message.

    Attributes:
        passed: True if the answer is right.
        message: Some lines for the learner. The first begins with a sign: ✓ right, ✗ wrong, ⚠ an
            error in the learner's function, … not attempted.
    """

    passed: bool
    message: str

    def __repr__(self) -> str:
        """Return the message."""
        return self.message

    def _repr_html_(self) -> str:
        """Return the message for a notebook; what stands in `backticks` is code.

        The text has the colours that the theme gives it: a notebook may be light or dark.
        """
        lines = "<br>".join(escape(self.message).split("\n"))
        lines = re.sub("`([^`]+)`", r"<code>\1</code>", lines)
        lines = re.sub(r"^. \w+( \w+)*", r"<b>\g<0></b>", lines)
        return FRAME.format(color=COLORS[self.message[0]], lines=lines)


def right(praise: str) -> Feedback:
    """Return the feedback for a right answer."""
    return Feedback(True, f"✓ Correct. {praise}")


def wrong(hint: str) -> Feedback:
    """Return the feedback for a wrong answer."""
    return Feedback(False, f"✗ Not yet: {hint}")


def failed(report: str) -> Feedback:
    """Return the feedback for a function that raised an error."""
    return Feedback(False, f"⚠ Not yet: {report}")


NOT_ATTEMPTED = Feedback(
    False, "… Not attempted yet: replace the ... by your answer and run the cell again."
)
