"""A prediction shows its question, waits for a vote, and folds what follows until then."""

import json
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest

import ntk_helpers as ntk
from ntk_helpers.classroom import predict as module

QUESTION = {
    "question": "Is 2 < 3?",
    "a": "yes & always",
    "b": "no",
    "answer": "a",
    "tempting": "b",
    "because": "One counts so: 1 < 2 < 3.",
}


class Screen:
    """Stands in for a notebook's output area: the list of outputs, which handles can replace."""

    def __init__(self):
        """Start empty."""
        self.outputs = []

    def display(self, data, *, raw, metadata=None, display_id=None):
        assert raw
        place = len(self.outputs)
        self.outputs.append((data, metadata))

        def update(data, *, raw, metadata=None):
            self.outputs[place] = (data, metadata)

        return SimpleNamespace(update=update) if display_id else None


@pytest.fixture
def screen(monkeypatch, tmp_path):
    """Return an empty screen, in a folder that is no learner's copy."""
    screen = Screen()
    monkeypatch.setattr("IPython.display.display", screen.display)
    monkeypatch.setattr(module, "_waiting", None)
    monkeypatch.delenv("NTK_PREDICT", raising=False)
    monkeypatch.delenv("NTK_CLAIMS", raising=False)
    monkeypatch.chdir(tmp_path)
    return screen


@pytest.fixture
def votes(monkeypatch):
    """Return the list of the predictions' buttons and outputs, in order."""
    made = []
    original = module._Vote.__init__

    def remember(vote, *arguments):
        original(vote, *arguments)
        made.append(vote)

    monkeypatch.setattr(module._Vote, "__init__", remember)
    return made


def test_question_and_choices_are_text_html_and_a_widget(screen):
    ntk.predict(**QUESTION)
    ((bundle, _),) = screen.outputs
    assert bundle["text/plain"] == "Predict. Is 2 < 3?\n(a) yes & always\n(b) no"
    assert "Is 2 &lt; 3?" in bundle["text/html"]
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]


def test_the_answer_stands_only_inside_the_closed_part_of_the_html(screen):
    ntk.predict(**QUESTION)
    html = screen.outputs[0][0]["text/html"]
    opened = re.sub("<details>.*</details>", "", html)
    assert "One counts so" in html
    assert "One counts so" not in opened
    assert "One counts so" not in screen.outputs[0][0]["text/plain"]


def test_a_figure_and_a_claim_wait_for_the_vote(screen, votes):
    ntk.predict(**QUESTION)
    ntk.show(plt.figure(), alt="A telling description.")
    ntk.claim("telling number", 1, below=2)
    for data, _ in screen.outputs[1:]:
        assert data["text/html"].startswith("<details><summary>")
        assert "telling" not in data["text/plain"]
        assert "image/png" not in data
    votes[0].buttons["b"].click()
    figure, claim = screen.outputs[1:]
    assert figure[0]["text/plain"] == "A telling description."
    assert figure[1]["image/png"]["alt"] == "A telling description."
    assert claim[0]["text/plain"] == "✓ telling number: 1 (below 2)"


def test_after_the_vote_nothing_is_folded(screen, votes):
    ntk.predict(**QUESTION)
    votes[0].buttons["a"].click()
    ntk.show(plt.figure(), alt="A description that may be read.")
    assert "image/png" in screen.outputs[-1][0]


def test_a_new_prediction_folds_again(screen, votes):
    ntk.predict(**QUESTION)
    votes[0].buttons["a"].click()
    ntk.predict(**{**QUESTION, "question": "And is 3 < 4?"})
    ntk.claim("number", 1, below=2)
    assert screen.outputs[-1][0]["text/html"].startswith("<details>")
    votes[0].buttons["b"].click()  # the first one again: it has nothing to do with the second
    assert screen.outputs[-1][0]["text/html"].startswith("<details>")


def test_the_reason_is_shown_by_a_second_click(screen, votes):
    ntk.predict(**QUESTION)
    (vote,) = votes
    assert vote.open.layout.display == "none"
    vote.buttons["b"].click()
    assert vote.open.layout.display != "none"
    assert "You voted (b)" in vote.said.value
    assert "One counts so" not in vote.said.value
    vote.open.click()
    assert 'role="alert"' in vote.said.value
    assert "You voted (b)." in vote.said.value
    assert "(a) One counts so" in vote.said.value


def test_a_right_vote_is_told_and_a_vote_can_be_changed(screen, votes):
    ntk.predict(**QUESTION)
    (vote,) = votes
    vote.buttons["b"].click()
    vote.buttons["a"].click()
    assert [button.description for button in vote.buttons.values()] == ["● (a)", "(b)"]
    vote.open.click()
    assert "As you voted" in vote.said.value


def test_in_a_learner_s_copy_the_vote_is_remembered(screen, votes, tmp_path, monkeypatch):
    (tmp_path / "work" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "deeper")
    kept = tmp_path / "work" / ".progress.json"
    kept.write_text('{"exercises": {"check_mse_rate": true}}', encoding="utf-8")
    ntk.predict(**QUESTION)
    votes[0].buttons["b"].click()
    saved = json.loads(kept.read_text(encoding="utf-8"))
    assert saved == {"exercises": {"check_mse_rate": True}, "votes": {"Is 2 < 3?": "b"}}
    ntk.predict(**QUESTION)
    assert votes[1].cast == "b"
    ntk.claim("number", 1, below=2)
    assert screen.outputs[-1][0]["text/plain"].startswith("✓")


def test_a_vote_that_is_no_longer_a_choice_is_not_cast(screen, votes, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for kept in ("c", ["a"]):
        saved = json.dumps({"votes": {QUESTION["question"]: kept}})
        (tmp_path / "work" / ".progress.json").write_text(saved, encoding="utf-8")
        ntk.predict(**QUESTION)
        assert votes[-1].cast is None


@pytest.mark.parametrize("content", ["", '{"votes": {'])
def test_a_spoilt_file_of_votes_does_no_harm(screen, votes, tmp_path, monkeypatch, content):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / ".progress.json").write_text(content, encoding="utf-8")
    ntk.predict(**QUESTION)
    votes[0].buttons["a"].click()
    assert votes[0].cast == "a"


def test_for_tests_and_print_nothing_is_folded(screen, monkeypatch):
    monkeypatch.setenv("NTK_PREDICT", "open")
    ntk.predict(**QUESTION)
    ntk.claim("number", 1, below=2)
    assert screen.outputs[-1][0]["text/plain"].startswith("✓")


def test_a_prediction_has_choices_and_its_answer_is_one_of_them(screen):
    with pytest.raises(TypeError, match="two choices or more"):
        ntk.predict("?", a="one", answer="a", because="")
    with pytest.raises(ValueError, match="answer must be one of 'a', 'b'; got 'c'"):
        ntk.predict("?", a="one", b="two", answer="c", because="")
    with pytest.raises(ValueError, match="tempting must be one of 'b'; got 'a'"):
        ntk.predict("?", a="one", b="two", answer="a", tempting="a", because="")
