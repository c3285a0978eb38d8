"""`loss.png` and `sweep.png`: the curves of a training and the trials of a sweep, for a person to look at.

    plot_history(history, Path("finetuned_model/loss.png"), best_step=120)
    plot_sweep(ranking, Path("sweep/sweep.png"))

`history` has the entries of `metrics.json`, `ranking` those of `sweep.json`. This module does not know what they mean;
that is in `rasa_ft_ext.train.verdict` and `rasa_ft_ext.train.trials`.
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

# How the trials of a sweep are shown, by their verdict.
VERDICTS = {
    "best": {"color": "#009E73", "marker": "D", "label": "best"},
    "as good": {"color": "#0072B2", "marker": "o", "label": "cannot be told from the best"},
    "worse": {"color": "#D55E00", "marker": "X", "label": "worse than the best"},
}
PANELS_A_ROW = 4

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
    entries = sorted(history, key=lambda entry: entry["step"])
    accuracy = _points(entries, "eval_command_accuracy")
    figure = _figure(8, 6 if accuracy else 4.2)
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


def plot_sweep(ranking: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw each trial's command accuracy with its interval, best first, and below it against each setting.

    Args:
        ranking: The trials, best first: `number`, `chosen`, `verdict`, `accuracy` and `interval`. Failed ones, which
            have no accuracy, are named without a point.
        path: The PNG file; it appears whole, and replaces what is there.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = list(ranking[0]["chosen"])
    rows, columns = -(-len(names) // PANELS_A_ROW), min(len(names), PANELS_A_ROW)
    heights = [1.4 + 0.3 * len(ranking), 2.6 * rows]
    figure = _figure(10, sum(heights))
    upper, lower = figure.subfigures(2, 1, height_ratios=heights)
    _draw_ranking(upper.subplots(), ranking)
    panels = list(lower.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        _draw_setting(axes, name, [trial for trial in ranking if trial["accuracy"] is not None])
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel("Command accuracy", color=INK)
    _save(figure, path)


def _draw_ranking(axes: Any, ranking: Sequence[Mapping[str, Any]]) -> None:
    """A line for each trial, with its settings beside it."""
    from matplotlib.ticker import PercentFormatter

    _frame(axes)
    shown = set()
    for place, trial in enumerate(ranking):
        if trial["accuracy"] is None:
            axes.text(0.01, place, "failed", va="center", color=INK, style="italic")
            continue
        style = dict(VERDICTS[trial["verdict"]])
        if trial["verdict"] in shown:
            del style["label"]
        shown.add(trial["verdict"])
        low, high = trial["interval"]
        axes.hlines(place, low, high, color=style["color"], linewidth=2, alpha=0.5)
        axes.plot([trial["accuracy"]], [place], linestyle="none", markersize=7, **style)
    labels = [f"{trial['number']}:  {_settings(trial['chosen'])}" for trial in ranking]
    axes.set_yticks(range(len(ranking)), labels)
    axes.set_ylim(len(ranking) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_title(f"Trials, best first:  {', '.join(ranking[0]['chosen'])}", loc="left", color=INK, fontsize=10)
    axes.set_xlabel("Command accuracy on the validation set, with its 95 % interval", color=INK)
    if shown:
        axes.figure.legend(loc="outside upper right", ncols=3, frameon=False, labelcolor=INK)


def _draw_setting(axes: Any, name: str, trials: Sequence[Mapping[str, Any]]) -> None:
    """The trials' accuracy against one of their settings."""
    from matplotlib.ticker import PercentFormatter

    _frame(axes)
    axes.tick_params(axis="x", labelsize=8)
    values = [trial["chosen"][name] for trial in trials]
    numbers = all(isinstance(value, int | float) for value in values)
    if not numbers:  # words stand in the order of the alphabet
        names = sorted(map(str, values))
        axes.set_xticks(range(len(set(names))), dict.fromkeys(names))
        values = [list(dict.fromkeys(names)).index(str(value)) for value in values]
    for value, trial in reversed(list(zip(values, trials, strict=True))):  # the best one on top
        style = VERDICTS[trial["verdict"]]
        axes.plot(
            [value],
            [trial["accuracy"]],
            linestyle="none",
            markersize=6,
            alpha=0.8,
            color=style["color"],
            marker=style["marker"],
        )
    few = sorted(set(values))
    if numbers and few and few[0] > 0 and few[-1] / few[0] >= 4:
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
        axes.xaxis.set_major_formatter("{x:g}")
    if numbers and len(few) <= 6:
        axes.set_xticks(few, [_shown(value) for value in few], minor=False)
    axes.set_ylim(-0.03, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel(name, color=INK)


def _settings(chosen: Mapping[str, Any]) -> str:
    return ", ".join(map(_shown, chosen.values()))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figure(width: float, height: float) -> Any:
    """A figure of its own, not pyplot's: no window, and nothing of the caller's plots is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train") from error
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    return figure


def _frame(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _clean(axes: Any, last_step: float) -> None:
    _frame(axes)
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
