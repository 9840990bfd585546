"""An explorer's pictures as numbers, from which docs/static/explorer.js draws without a kernel.

A picture is read off matplotlib's figure: lines, bars, texts and small images, in thousandths of
their panel. What pictures share is stored once. What was made is kept in build/explorers until
the code changes, since some explorers train networks for a minute.
"""

import hashlib
import itertools
import json
import os
import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path as Line
from matplotlib.text import Text
from matplotlib.transforms import Transform

from ntk_helpers import explore, setup
from ntk_helpers._progress import tqdm
from ntk_helpers.classroom.explore import Explorer

ROOT = Path(__file__).resolve().parent.parent
STEPS = 1000  # of the grid on which a panel's points lie, along each side
PIXELS = 90  # for an inch of the figure: then it is as wide as the notebook shows it
CLOSE = 3  # panels around its own to which a point is kept; what lies farther is as far as that
LEGENDS = {1: "ne", 2: "nw", 3: "sw", 4: "se", 8: "s", 9: "n"}  # matplotlib's codes


class Pool:
    """Values, each stored once, and their numbers."""

    def __init__(self):
        """Begin without a value."""
        self._numbers = {}

    def __call__(self, value: object) -> int:
        """Return the number of a value, which is one that JSON can write."""
        return self._numbers.setdefault(json.dumps(value, ensure_ascii=False), len(self._numbers))

    def values(self) -> list:
        """Return all values in the order of their numbers."""
        return [json.loads(text) for text in self._numbers]


def pictures(name: str, controls: list[str] | None = None) -> dict:
    """Return an explorer's pictures for all positions of some of its sliders.

    Args:
        name: Of a function in `ntk_helpers.explore`.
        controls: Those that move, the others stay where they start; None: all. The last one is the
            fastest in the order of the pictures.

    Returns:
        What docs/static/explorer.js takes: about, size, controls, pool and frames.
    """
    file = ROOT / "build" / "explorers" / f"{name}-{'-'.join(controls or ['all'])}-{state()}.json"
    if not file.exists():
        with redirect_stdout(sys.stderr):
            setup()  # the style of figures
        made = swept(getattr(explore, name)(), controls, progress=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")  # somebody else may look for it just now
        unfinished.write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
        unfinished.replace(file)
    return json.loads(file.read_text(encoding="utf-8"))


def state() -> str:
    """Return a hash of what the pictures depend on: the package, this file, the libraries."""
    files = [Path(__file__), *sorted((ROOT / "ntk_helpers").rglob("*.py"))]
    parts = [file.read_text(encoding="utf-8") for file in files]
    parts += [version(name) for name in ("torch", "numpy", "matplotlib")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def swept(explorer: Explorer, controls: list[str] | None = None, *, progress: str = "") -> dict:
    """Return what `pictures` does, of an explorer that is there.

    Args:
        explorer: The explorer.
        controls: As for `pictures`.
        progress: What the bar that shows how far it is says; if empty, there is none.
    """
    now, labels, pool = explorer.now, explorer.labels, Pool()
    options = {name: explorer.options(name) for name in controls or now}
    settings = [*itertools.product(*(values.values() for values in options.values()))]
    frames = []
    for values in tqdm(settings, desc=progress, disable=not progress):
        setting = now | dict(zip(options, values, strict=True))
        figure = explorer.figure(**setting)
        panels = [panel(ax, pool) for ax in figure.axes]
        frames.append([pool(explorer.say(**setting)), panels])
    return {
        "about": explorer.about,
        "size": [round(PIXELS * side) for side in figure.get_size_inches()],
        "controls": [
            {
                "name": name,
                "label": labels[name],
                "hint": explorer.hints[name],
                "texts": [*values],
                "start": [*values.values()].index(now[name]),
                "plays": name == explorer.plays,
            }
            for name, values in options.items()
        ],
        "pool": pool.values(),
        "frames": frames,
    }


def panel(ax: Axes, pool: Pool) -> list:
    """Return a panel: the number of what frames it, then for all it shows, in order, three numbers.

    The three lead to the style, and to the places across and up, in steps of the panel.
    """
    ax.apply_aspect()
    left, bottom, width, height = ax.get_position().bounds
    frame = {
        "box": steps([left, 1 - bottom - height, width, height]),
        "title": ax.get_title() or ax.get_title("left"),
        "labels": [ax.get_xlabel(), ax.get_ylabel()],
        "sizes": [pixels(text.get_fontsize()) for text in (ax.title, ax.xaxis.label)],
        "ticks": [ticks(ax, axis) for axis in (ax.xaxis, ax.yaxis)],
        "framed": ax.spines["left"].get_visible(),
        "grid": ax.xaxis.get_gridlines()[0].get_visible() if ax.get_xticks().size else False,
    }
    entry = {}  # artist → which entry of the legend shows it
    if legend := ax.get_legend():
        handles, entries = ax.get_legend_handles_labels()
        for place, handle in enumerate(handles):  # of bars, all in one
            entry |= dict.fromkeys(handle if isinstance(handle, tuple) else [handle], place)
        size = pixels(legend.get_texts()[0].get_fontsize())
        frame["legend"] = [LEGENDS[legend._loc], legend._ncols, size, entries]
    kept = {*ax.lines, *ax.patches, *ax.collections, *ax.images, *ax.texts}
    shown = [artist for artist in ax.get_children() if artist in kept]
    items = []
    for artist in sorted(shown, key=lambda artist: artist.get_zorder()):  # as matplotlib does
        style, places = described(artist)
        shares = on_panel(ax, placed(artist).transform(places))
        if artist in entry:
            style["entry"] = entry[artist]
        items.append([pool(style), *(pool(differences(each)) for each in shares)])
    return [pool(frame), items]


def described(artist: Artist) -> tuple[dict, np.ndarray]:
    """Return how something looks, and (n, 2) places in data; NaN parts lines from each other."""
    match artist:
        case Line2D():
            mark = artist.get_marker()
            look = {"line": to_hex(artist.get_color()), "width": pixels(artist.get_linewidth())}
            if (dash := artist.get_linestyle()) != "-":
                look["dash"] = dash
            if mark not in ("None", None, ""):
                fill, edge = artist.get_markerfacecolor(), artist.get_markeredgecolor()
                look |= {"mark": mark, "size": pixels(artist.get_markersize())}
                look |= {"fill": "none" if fill == "none" else to_hex(fill), "edge": to_hex(edge)}
                look["rim"] = pixels(artist.get_markeredgewidth())
            return look, artist.get_xydata()
        case Rectangle():
            return {"bar": to_hex(artist.get_facecolor())}, artist.get_bbox().get_points()
        case Collection():
            parted = [np.vstack([path.vertices, [np.nan, np.nan]]) for path in paths(artist)]
            look = {
                "line": to_hex(artist.get_edgecolor()[0]),
                "width": pixels(artist.get_linewidth()[0]),
            }
            return look, np.vstack(parted)
        case AxesImage():
            left, right, bottom, top = artist.get_extent()
            shades = artist.cmap(artist.norm(artist.get_array()), bytes=True)[..., 0]
            return {"image": shades.tolist()}, np.array([[left, bottom], [right, top]])
        case Text():
            look = {
                "text": artist.get_text(),
                "size": pixels(artist.get_fontsize()),
                "color": to_hex(artist.get_color()),
                "place": [artist.get_ha(), artist.get_va(), artist.get_rotation()],
            }
            return look, np.array([artist.get_position()])
    raise TypeError(f"docs/static/explorer.js cannot draw {artist}.")


def paths(collection: Collection) -> list[Line]:
    """Return the lines of a collection: of a contour, the parts of each level."""
    every = [part for path in collection.get_paths() for part in path._iter_connected_components()]
    return [path for path in every if len(path.vertices)]


def placed(artist: Artist) -> Transform:
    """Return what leads from the places of something to the canvas: a line may cross its panel."""
    is_bar = isinstance(artist, Rectangle)
    return artist.get_data_transform() if is_bar else artist.get_transform()


def on_panel(ax: Axes, places: np.ndarray) -> np.ndarray:
    """Return (2, n) shares of the panel across and up, from (n, 2) places on the canvas."""
    return np.clip(ax.transAxes.inverted().transform(places), -CLOSE, CLOSE).T


def ticks(ax: Axes, axis: Axis) -> list:
    """Return where an axis has its ticks, in steps, and their texts."""
    places = np.zeros((len(axis.get_majorticklocs()), 2))
    which = 0 if axis is ax.xaxis else 1
    places[:, which] = axis.get_majorticklocs()
    shares = on_panel(ax, ax.transData.transform(places))[which]
    texts = [text.get_text() for text in axis.get_ticklabels()]
    inside = [(at, text) for at, text in zip(shares, texts, strict=True) if -1e-6 <= at <= 1 + 1e-6]
    return [steps([at for at, _ in inside]), [text for _, text in inside]]


def steps(shares: list[float]) -> list[int]:
    """Return shares of a side in steps."""
    return [round(STEPS * share) for share in shares]


def differences(shares: np.ndarray) -> list[int | None]:
    """Return places in steps, each but the first as the way from the one before: shorter to write.

    None stands where one line ends and the next begins.
    """
    made, last = [], 0
    for share in shares:
        here = None if np.isnan(share) else round(STEPS * share)
        made.append(None if here is None else here - last)
        last = last if here is None else here
    return made


def pixels(points: float) -> float:
    """Return points, matplotlib's 72nd parts of an inch, as pixels of the picture."""
    return round(points * PIXELS / 72, 1)
