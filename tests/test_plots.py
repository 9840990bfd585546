"""Figures draw what they are given, describe themselves, and are the same on every run."""

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from ntk_helpers.classroom import plots
from tools.run_notebooks import ROOT


@pytest.fixture
def displayed(monkeypatch):
    """Collect what is handed to IPython's display."""
    seen = []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda data, raw, metadata=None: seen.append((data, metadata)),
    )
    return seen


def test_show_writes_the_alternative_text_and_closes_the_figure(displayed):
    figure, _ = plt.subplots(figsize=(5, 3))
    plots.show(figure, alt="A flat line.")
    ((data, metadata),) = displayed
    assert metadata["image/png"] == {"alt": "A flat line.", "width": 500}
    assert data["text/plain"] == "A flat line."
    assert not plt.fignum_exists(figure.number)


def test_show_refuses_what_is_no_figure_and_an_empty_description():
    figure, ax = plt.subplots()
    with pytest.raises(TypeError, match=re.escape("An Axes knows its figure: ax.figure")):
        plots.show(ax, alt="text")
    with pytest.raises(ValueError, match="alt is empty: say in a sentence"):
        plots.show(figure, alt="  ")


def test_a_figure_gives_the_same_bytes_twice():
    def draw():
        return plots.plot_curves(torch.linspace(0, 1, 5), {"line": torch.arange(5.0)}).figure

    assert plots.png(draw()) == plots.png(draw())


def _pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def _busy_figure(height):
    figure = Figure(figsize=(5.2, 3.3), layout="constrained")
    left, right = figure.subplots(ncols=2)
    left.plot([0, height], label=f"to {height}")
    left.set(xlabel="θ₁", ylabel="$\\lambda^2$", title=f"height {height}, same place")
    left.text(0.5, height / 2, "slanted", rotation=30, color="#D55E0080", ha="center")
    left.text(0.9, height, "cut off at the edge of the axis", clip_on=True)
    left.text(0.2, 0.2, "")
    left.legend()
    plots.plot_matrix(torch.tensor([[2.0, 0.0], [-1.0, height]]), label="colour", ax=right)
    return figure


def test_a_quick_picture_has_the_pixels_of_the_slow_one():
    frames = {}
    for height in (1.0, 2.5, 1.0):  # the third is drawn from texts that are remembered
        frames[height] = plots.quick_png(_busy_figure(height))
        slow = _pixels(plots.png(_busy_figure(height)))
        # Colours are rounded once more where a text is copied.
        assert abs(_pixels(frames[height]) - slow).max() <= 1
    assert frames[1.0] != frames[2.5]
    sharp = [draw(_busy_figure(1.0), dpi=160) for draw in (plots.quick_png, plots.png)]
    assert abs(_pixels(sharp[0]) - _pixels(sharp[1])).max() <= 1


def test_curves_and_points_hold_the_values():
    x = torch.linspace(0, 1, 4)[:, None].requires_grad_()
    ax = plots.plot_curves(x, {"a": x.square(), "b": x[:, 0]})
    plots.plot_points(x, 2 * x, ax=ax)
    first, second, dots = ax.lines
    expected = x.detach().numpy()[:, 0]
    np.testing.assert_allclose(first.get_ydata(), expected**2)
    np.testing.assert_allclose(second.get_ydata(), expected)
    np.testing.assert_allclose(dots.get_ydata(), 2 * expected)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_the_guide_of_a_scaling_plot_has_its_slope_and_meets_the_last_point():
    size = torch.tensor([0.4, 0.2, 0.1])
    dots, guide = plots.plot_scaling(size, 3 * size**2, order=2).lines
    np.testing.assert_allclose(guide.get_ydata(), dots.get_ydata(), rtol=1e-5)


def test_a_matrix_is_white_at_zero():
    ax = plots.plot_matrix(torch.tensor([[2.0, 0.0], [-1.0, 0.5]]))
    image = ax.images[0]
    assert image.norm.vmin == -image.norm.vmax == -2
    np.testing.assert_allclose(image.cmap(image.norm(0.0))[:3], 1, atol=0.05)
    assert plots.plot_matrix(torch.zeros(2, 2)).images[0].norm.vmax == 1


def test_digits_need_a_title_each():
    ax = plots.plot_digits(torch.zeros(2, 8, 8), ["a", "b"])
    assert [text.get_text() for text in ax.texts] == ["a", "b"]
    with pytest.raises(ValueError, match="zip"):
        plots.plot_digits(torch.zeros(2, 8, 8), ["a"])


def test_contours_are_those_of_the_function():
    ax = plots.plot_contours(lambda p: p[:, 0], x_range=(0, 1), y_range=(0, 2))
    assert ax.get_xlim() == (0, 1)
    assert ax.get_ylim() == (0, 2)
    for path in ax.collections[0].get_paths():
        if len(path.vertices):
            assert np.ptp(path.vertices[:, 0]) < 1e-6


@pytest.mark.parametrize("current", range(9))
def test_the_map_marks_one_lesson_and_leads_to_all(current, displayed):
    plots.show_course_map(current)
    ((data, _),) = displayed
    assert data["text/plain"].startswith(f"Lesson {current:02d}, {plots.LESSONS[current]}, of")
    links = re.findall(r'<a href="(.*?)" (aria-current="page")?', data["text/html"])
    lessons = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert links == [
        (path.name, 'aria-current="page"' if number == current else "")
        for number, path in enumerate(lessons)
    ]
    drawn = plots.plot_course_map(current)
    assert drawn.texts[2 * current + 1].get_weight() == "bold"
    plt.close(drawn.figure)
