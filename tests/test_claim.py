"""A claim shows number and bound, fails with both, and can be recorded instead."""

import configparser
import json
import math
import re

import pytest
import torch
from test_notebooks_hygiene import ROOT

import ntk_helpers as ntk
from ntk_helpers.classroom import claim as module


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """Return the list that collects the outputs of claims."""
    monkeypatch.delenv("NTK_CLAIMS", raising=False)
    outputs = []
    monkeypatch.setattr(module, "present", lambda data, *, what: outputs.append(data))
    return outputs


@pytest.mark.parametrize(
    ("value", "bound", "text"),
    [
        (0.0083, {"below": 0.03, "unit": "%"}, "✓ gap: 0.83 % (below 3 %)"),
        (torch.tensor(0.75), {"above": 0.5}, "✓ gap: 0.75 (above 0.5)"),
        (
            12.34,
            {"between": (10, 20), "unit": "steps"},
            "✓ gap: 12 steps (between 10 and 20 steps)",
        ),
        (-0.97, {"near": (-1, 0.1)}, "✓ gap: −0.97 (near −1, give or take 0.1)"),
        (torch.tensor([0.02, 0.01]), {"below": 1}, "✓ gap: 0.010 … 0.020, 2 draws (below 1)"),
        (3, {"near": (3, 0), "case": "width 8"}, "✓ gap, width 8: 3 (near 3, give or take 0)"),
        (3.2e-12, {"below": 1e-6}, "✓ gap: 3.2·10⁻¹² (below 1·10⁻⁶)"),
        (2.5e7, {"above": 1e6}, "✓ gap: 2.5·10⁷ (above 1·10⁶)"),
        (1234.5, {"above": 0}, "✓ gap: 1234 (above 0)"),
    ],
)
def test_a_claim_that_holds_shows_its_number_beside_its_bound(shown, value, bound, text):
    ntk.claim("gap", value, **bound)
    (data,) = shown
    assert data["text/plain"] == text
    assert re.sub("<[^>]+>", "", data["text/html"]) == text


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        (0.03, {"below": 0.03}),
        (0.5, {"above": 0.5}),
        (9.9, {"between": (10, 20)}),
        (20.1, {"between": (10, 20)}),
        (-0.89, {"near": (-1, 0.1)}),
        (-1.11, {"near": (-1, 0.1)}),
        (torch.tensor([0.0, 0.04]), {"below": 0.03}),
    ],
)
def test_a_claim_out_of_its_bound_fails_the_cell(shown, value, bound):
    with pytest.raises(AssertionError, match=r"gap is .*, and the claim is"):
        ntk.claim("gap", value, **bound)
    assert shown[0]["text/plain"].startswith("✗ gap: ")


@pytest.mark.parametrize(
    "bound", [{"below": 1}, {"above": 1}, {"between": (0, 1)}, {"near": (0, 9)}]
)
def test_nan_keeps_no_bound(bound):
    with pytest.raises(AssertionError, match="look for a learning rate that is too large"):
        ntk.claim("gap", math.nan, **bound)


def test_the_message_names_value_bound_and_the_draws_that_break_it():
    with pytest.raises(AssertionError) as error:
        ntk.claim("gap", torch.tensor([0.01, 0.5, 0.02, 0.7]), below=0.03, unit="%")
    assert "gap is 1 … 70 %, 4 draws, and the claim is: below 3 %." in str(error.value)
    assert "broken by draw 1, 3" in str(error.value)
    assert "restart the kernel and run all cells" in str(error.value)


def test_a_claim_has_one_bound_and_a_number():
    for bounds in ({}, {"below": 1, "above": 0}):
        with pytest.raises(TypeError, match="exactly one of below, above, between, near"):
            ntk.claim("gap", 0.5, **bounds)
    for value in (True, torch.tensor([True]), torch.tensor([]), 1j):
        with pytest.raises(TypeError, match="a number that a reader can see"):
            ntk.claim("gap", value, below=1)


def test_a_name_is_text_and_not_markup(shown):
    ntk.claim("K < 2 & more", 1, below=2)
    assert "K &lt; 2 &amp; more" in shown[0]["text/html"]


def test_recorded_claims_do_not_raise(monkeypatch, tmp_path):
    file = tmp_path / "claims.jsonl"
    monkeypatch.setenv("NTK_CLAIMS", str(file))
    ntk.claim("gap", 0.5, below=0.03, unit="%", case="width 8")
    ntk.claim("slope", torch.tensor([1.0, 2.0]), above=0)
    first, second = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert first == {
        "claim": "gap, width 8",
        "shown": "50 %",
        "ends": [0.5, 0.5],
        "bound": "below 3 %",
        "held": False,
    }
    assert second["held"]
    assert second["ends"] == [1.0, 2.0]


def sanitized(text: str) -> str:
    """Return an output as nbval compares it."""
    rules = configparser.RawConfigParser()
    rules.read(ROOT / "tests" / "nbval_sanitize.cfg", encoding="utf-8")
    for section in rules.sections():
        text = re.sub(rules.get(section, "regex"), rules.get(section, "replace"), text)
    return text


def test_the_sanitizer_hides_the_value_and_leaves_bound_and_verdict(shown, monkeypatch, tmp_path):
    monkeypatch.setenv("NTK_CLAIMS", str(tmp_path / "unused"))
    for value, bound in [(0.01, 0.03), (0.02, 0.03), (0.01, 0.04), (0.05, 0.03)]:
        ntk.claim("gap", value, below=bound, unit="%")
    for kind in ("text/plain", "text/html"):
        one, other_value, other_bound, failed = (sanitized(data[kind]) for data in shown)
        assert one == other_value
        assert one not in (other_bound, failed)
