"""`loss.png`: the curves of a training, for a person to look at.

    plot_history(history, Path("finetuned_model/loss.png"), best_step=120)

`history` has the entries of `metrics.json`. This module does not know what the curves mean; that is in
`rasa_ft_ext.train.verdict`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from rasa_ft_ext.errors import MissingExtraError

Points = Sequence[tuple[float, float]]  # step and value, by step

# Okabe and Ito's colours, which colour-blind people can tell apart; line styles and markers differ as well.
TRAINING = {"color": "#0072B2", "linewidth": 2}
VALIDATION = {"color": "#D55E00", "linewidth": 2, "linestyle": "--", "marker": "s", "markersize": 5}
ACCURACY = {"color": "#009E73", "linewidth": 2, "marker": "D", "markersize": 5}
KEPT = {"color": "#333333", "linewidth": 1.2, "linestyle": ":", "zorder": 1}  # behind the curves
INK, GRID = "#333333", "#E3E3E3"

# More points than this are drawn thin, with their moving mean on top.
MANY = 40
# A loss whose highest value is so many times the lowest is drawn on a logarithmic scale.
WIDE = 20


def plot_history(history: Iterable[Mapping[str, Any]], path: Path, best_step: int | None = None) -> None:
    """Draw training and validation loss over the steps, and below them the validation set's command accuracy.

    Args:
        history: What was logged, in any order: entries with `step`, and some of `epoch`, `loss`, `eval_loss` and
            `eval_command_accuracy` (a share). What was never logged is left out, and so are infinities and NaN.
        path: The PNG file; it appears whole, and replaces what is there.
        best_step: The step of the kept checkpoint, to be marked.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train") from error
    entries = sorted(history, key=lambda entry: entry["step"])
    accuracy = _points(entries, "eval_command_accuracy")
    # A figure of its own, not pyplot's: no window, and nothing of the caller's plots is touched.
    figure = Figure(figsize=(8, 6 if accuracy else 4.2), dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    heights = [3, 2] if accuracy else [1]
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    last_step = max((entry["step"] for entry in entries), default=0) or 1
    for axes in panels:
        _clean(axes, last_step)
    _draw_losses(panels[0], _points(entries, "loss"), _points(entries, "eval_loss"))
    if accuracy:
        _draw_accuracy(panels[1], accuracy, best_step)
    if best_step is not None:
        for axes in panels:
            axes.axvline(best_step, label=f"kept checkpoint (step {best_step})", **KEPT)
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(frameon=False, labelcolor=INK)
    _draw_epochs(panels[0], _points(entries, "epoch"))
    panels[-1].set_xlabel("Step", color=INK)
    _save(figure, path)


def _clean(axes: Any, last_step: float) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1.04 * last_step)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _draw_losses(axes: Any, training: Points, validation: Points) -> None:
    if len(training) > MANY:
        axes.plot(*_columns(training), color=TRAINING["color"], alpha=0.3, linewidth=0.8)
        axes.plot(*_columns(_smooth(training)), label="training loss (moving mean)", **TRAINING)
    elif training:
        axes.plot(*_columns(training), label="training loss", marker="o", markersize=4, **TRAINING)
    if validation:
        axes.plot(*_columns(validation), label="validation loss", **VALIDATION)
    losses = [loss for _, loss in (*training, *validation)]
    if not losses:
        axes.text(0.5, 0.5, "no loss was logged", transform=axes.transAxes, ha="center", va="center", color=INK)
        axes.set_yticks([])
    elif min(losses) > 0 and max(losses) / min(losses) > WIDE:
        axes.set_yscale("log")
        axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(min(0, *losses), 1.07 * max(losses) or 1)
    axes.set_ylabel("Loss (log scale)" if axes.get_yscale() == "log" else "Loss", color=INK)


def _draw_accuracy(axes: Any, accuracy: Points, best_step: int | None) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.plot(*_columns(accuracy), **ACCURACY)
    # The kept checkpoint's figure is written beside its point; without one, the last figure is.
    step, share = next((point for point in accuracy if point[0] == best_step), accuracy[-1])
    axes.annotate(
        f"{round(100 * share, 1):g} %",
        (step, share),
        xytext=(0, -9 if share > 0.5 else 9),
        textcoords="offset points",
        ha="center",
        va="top" if share > 0.5 else "bottom",
        color=INK,
        weight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )
    axes.set_ylim(-0.03, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_ylabel("Command accuracy\n(validation)", color=INK)


def _draw_epochs(axes: Any, epochs: Points) -> None:
    """Put the epochs on top, where they are known."""
    step, epoch = epochs[-1] if epochs else (0, 0)
    if step > 0 and epoch > 0:
        scale = axes.secondary_xaxis("top", functions=(lambda at: at * epoch / step, lambda at: at * step / epoch))
        scale.xaxis.get_major_locator().set_params(integer=epoch >= 2)
        scale.set_xlabel("Epoch", color=INK)
        scale.tick_params(colors=INK)
        scale.spines["top"].set_color(INK)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        figure.savefig(draft, format="png")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _points(entries: Iterable[Mapping[str, Any]], key: str) -> Points:
    points = [(float(entry["step"]), float(entry[key])) for entry in entries if entry.get(key) is not None]
    return [point for point in points if isfinite(point[1])]


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [step for step, _ in points], [value for _, value in points]


def _smooth(points: Points) -> Points:
    """Each value as the mean of those around it; at the ends of fewer, so that no shift comes in."""
    reach = max(1, len(points) // 40)
    means = []
    for at, (step, _) in enumerate(points):
        near = min(reach, at, len(points) - 1 - at)
        means.append((step, fmean(value for _, value in points[at - near : at + near + 1])))
    return means
