"""A prediction that the reader commits to: a question, a vote, and only then the answer."""

import os
from html import escape

from ntk_helpers._checks import require_choice
from ntk_helpers.classroom.progress import keep, kept

ASKED = '<p style="margin: 0"><strong>Predict.</strong> {question}</p>{choices}'
CHOICE = '<p class="ntk-choice" style="margin: 2px 0 2px 1em">({letter}) {text}</p>'
ANSWER = '<p class="ntk-because" style="margin: 4px 0">({answer}) {because}</p>'
STATIC = (
    '<section class="ntk-predict" data-answer="{answer}">{asked}'
    "<details><summary>The answer: open it after your vote</summary>{reason}</details></section>"
)
BEHIND = "<details><summary>{what}: vote above first, or open it here</summary>{inside}</details>"
PICTURE = '<img alt="{alt}" style="max-width: 100%" src="data:image/png;base64,{picture}">'

_waiting: "_Vote | None" = None  # the prediction above, as long as nobody has voted on it


def predict(
    question: str, *, answer: str, because: str, tempting: str | None = None, **choices: str
) -> None:
    """Ask the reader to commit to an answer before the next cells show it.

    The question and its choices are put out as text and as HTML, which every copy of the notebook
    keeps, and as buttons where a kernel runs: one click votes, a second one shows the reason. The
    figures and claims that follow stay folded until the vote. In a learner's copy of the course
    votes are kept in its file .progress.json. The environment variable NTK_PREDICT=open, for tests
    and for print, folds nothing.

    Args:
        question: In plain words, without formulas.
        answer: The letter of the right choice.
        because: Why, in one or two sentences.
        tempting: The letter of the usual wrong vote, for the teacher's page.
        **choices: Letter → what it stands for: a="…", b="…", and so on.

    Raises:
        TypeError: If there are fewer than two choices.
        ValueError: If `answer` is not among the choices, or `tempting` not among the wrong ones.
    """
    from IPython.display import display

    global _waiting
    if len(choices) < 2:
        raise TypeError('a prediction needs two choices or more: predict("…?", a="…", b="…", …).')
    require_choice("answer", answer, choices)
    if tempting is not None:
        require_choice("tempting", tempting, [letter for letter in choices if letter != answer])
    listed = "".join(CHOICE.format(letter=k, text=escape(text)) for k, text in choices.items())
    asked = ASKED.format(question=escape(question), choices=listed)
    reason = ANSWER.format(answer=answer, because=escape(because))
    vote = _Vote(question, asked, choices, answer, reason)
    _waiting = None if vote.cast or os.environ.get("NTK_PREDICT") == "open" else vote
    lines = [f"Predict. {question}", *(f"({letter}) {text}" for letter, text in choices.items())]
    bundle = {
        "text/plain": "\n".join(lines),
        "text/html": STATIC.format(asked=asked, answer=answer, reason=reason),
        "application/vnd.jupyter.widget-view+json": vote.box.get_view_spec(),
    }
    display(bundle, raw=True)


def present(data: dict, metadata: dict | None = None, *, what: str) -> None:
    """Display an output, or, while a prediction above waits for its vote, fold it until then.

    Args:
        data: Kind of content → content, as in a notebook.
        metadata: Kind of content → what belongs to it.
        what: What the output is, for the line that stands in its place.
    """
    from IPython.display import display

    if _waiting is None:
        display(data, metadata=metadata, raw=True)
        return
    alt, picture = escape(data["text/plain"]), data.get("image/png", "")
    inside = data.get("text/html") or PICTURE.format(alt=alt, picture=picture)
    folded = BEHIND.format(what=what, inside=inside)
    line = f"{what}: vote above first."
    handle = display({"text/html": folded, "text/plain": line}, raw=True, display_id=True)
    _waiting.folded.append((handle, data, metadata))


class _Vote:
    """The buttons of a prediction, and what waits for one of them.

    Attributes:
        box: The widget.
        cast: The letter that was voted for, or None.
        folded: Outputs that the vote will show: (handle, data, metadata).
    """

    def __init__(self, question: str, asked: str, choices: dict, answer: str, reason: str):
        """Make the buttons; a vote that the learner's copy remembers is cast again."""
        import ipywidgets as widgets

        self.question, self.answer, self.reason, self.folded = question, answer, reason, []
        small = {"width": "64px", "height": "32px"}
        self.buttons = {
            letter: widgets.Button(description=f"({letter})", tooltip=text, layout=small)
            for letter, text in choices.items()
        }
        for letter, button in self.buttons.items():
            button.on_click(lambda _, letter=letter: self.choose(letter))
        self.open = widgets.Button(description="Show the answer", layout={"display": "none"})
        self.open.on_click(lambda _: self.show())
        self.said = widgets.HTML("Your vote:")
        row = widgets.HBox([*self.buttons.values(), self.open], layout={"flex_flow": "row wrap"})
        self.box = widgets.VBox([widgets.HTML(asked), row, self.said])
        self.cast = None
        if (vote := kept("votes").get(question)) in [*choices]:
            self.choose(vote)

    def choose(self, letter: str) -> None:
        """Cast the vote, or change it, and show what waits for it."""
        global _waiting
        self.cast = letter
        for name, button in self.buttons.items():
            button.description = f"● ({name})" if name == letter else f"({name})"
        self.open.layout.display = ""
        self.say(f"You voted ({letter}). Run the next cells and see.")
        keep("votes", self.question, letter)
        if _waiting is self:
            _waiting = None
        while self.folded:
            handle, data, metadata = self.folded.pop(0)
            handle.update(data, metadata=metadata, raw=True)

    def show(self) -> None:
        """Show the answer with its reason."""
        right = "As you voted:" if self.cast == self.answer else f"You voted ({self.cast})."
        self.say(f"{right}{self.reason}")

    def say(self, html: str) -> None:
        """Show a sentence, which a screen reader reads out at once."""
        self.said.value = f'<div role="alert">{html}</div>'
