"""The picture of a training: what is in it, and how it comes to be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import MissingExtraError
from rasa_ft_ext.train.plots import plot_history, plot_sweep

HISTORY: list[dict[str, Any]] = [
    *({"step": step, "epoch": step / 20, "loss": 2 / step} for step in range(1, 61)),
    *(
        {"step": step, "epoch": step / 20, "eval_loss": 1.0, "eval_command_accuracy": rate}
        for step, rate in ((20, 0.5), (40, 0.8), (60, 0.7))
    ),
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were saved."""
    figure = pytest.importorskip("matplotlib.figure")
    figures: list[Any] = []
    save = figure.Figure.savefig

    def savefig(self: Any, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(figure.Figure, "savefig", savefig)
    return figures


def labels(axes: Any) -> list[str]:
    return list(axes.get_legend_handles_labels()[1])


def test_both_losses_accuracy_and_the_kept_checkpoint_are_drawn(tmp_path: Path, drawn: list[Any]) -> None:
    plot_history(reversed(HISTORY), tmp_path / "new" / "loss.png", best_step=40)
    assert (tmp_path / "new" / "loss.png").read_bytes().startswith(b"\x89PNG")
    losses, accuracy = drawn[0].axes
    assert labels(losses) == ["training loss (moving mean)", "validation loss", "kept checkpoint (step 40)"]
    assert [list(line.get_xdata()) for line in accuracy.lines] == [[20, 40, 60], [40, 40]]
    assert [text.get_text() for text in accuracy.texts] == ["80 %"]
    assert losses.child_axes[0].get_xlabel() == "Epoch"
    assert losses.child_axes[0].get_xlim()[1] / losses.get_xlim()[1] == pytest.approx(1 / 20)


def test_without_a_validation_set_there_is_one_panel(tmp_path: Path, drawn: list[Any]) -> None:
    plot_history([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], tmp_path / "loss.png")
    (losses,) = drawn[0].axes
    assert labels(losses) == ["training loss"]
    assert not losses.child_axes  # no epochs were logged


def test_a_single_point_is_seen(tmp_path: Path, drawn: list[Any]) -> None:
    plot_history([{"step": 1, "eval_loss": 2.0, "eval_command_accuracy": 0.0}], tmp_path / "loss.png")
    losses, accuracy = drawn[0].axes
    for axes in (losses, accuracy):
        (line,) = axes.lines
        assert line.get_marker() not in ("", "None", None)
        low, high = axes.get_ylim()
        assert low < line.get_ydata()[0] < high


def test_nothing_logged_gives_a_picture_that_says_so(tmp_path: Path, drawn: list[Any]) -> None:
    plot_history([], tmp_path / "loss.png", best_step=0)
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["no loss was logged"]


def test_numbers_that_are_none_are_left_out(tmp_path: Path, drawn: list[Any]) -> None:
    losses = [1.0, float("nan"), float("inf"), None, 2.0]
    plot_history([{"step": step, "loss": loss} for step, loss in enumerate(losses)], tmp_path / "loss.png")
    assert list(drawn[0].axes[0].lines[0].get_xdata()) == [0, 4]


@pytest.mark.parametrize(("losses", "scale"), [([2.0, 0.01], "log"), ([2.0, 1.0], "linear"), ([2.0, 0.0], "linear")])
def test_a_loss_over_a_wide_range_has_a_logarithmic_scale(
    tmp_path: Path, drawn: list[Any], losses: list[float], scale: str
) -> None:
    plot_history([{"step": step, "loss": loss} for step, loss in enumerate(losses)], tmp_path / "loss.png")
    axes = drawn[0].axes[0]
    assert axes.get_yscale() == scale
    assert ("log" in axes.get_ylabel()) == (scale == "log")


def test_the_moving_mean_of_a_line_is_that_line(tmp_path: Path, drawn: list[Any]) -> None:
    plot_history([{"step": step, "loss": 1 + step / 100} for step in range(200)], tmp_path / "loss.png")
    raw, smooth = drawn[0].axes[0].lines
    assert list(smooth.get_ydata()) == pytest.approx(list(raw.get_ydata()))


def test_a_failed_save_leaves_the_old_picture_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure")

    def savefig(self: Any, file: Path, **options: Any) -> None:
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure.Figure, "savefig", savefig)
    (tmp_path / "loss.png").write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        plot_history(HISTORY, tmp_path / "loss.png")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("loss.png", b"old")]


def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.png", "b.png"):
        plot_history(HISTORY, tmp_path / name, best_step=40)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_pyplot_is_left_alone(tmp_path: Path, drawn: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    plot_history(HISTORY, tmp_path / "loss.png")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"rasa-ft-ext\[train\]"):
        plot_history(HISTORY, tmp_path / "loss.png")


def entry(number: int, verdict: str, accuracy: float | None = None, **chosen: Any) -> dict[str, Any]:
    interval = None if accuracy is None else (accuracy - 0.1, accuracy + 0.1)
    return {"number": number, "chosen": chosen, "verdict": verdict, "accuracy": accuracy, "interval": interval}


RANKING = [
    entry(3, "best", 0.9, learning_rate=2e-4, scheduler="linear"),
    entry(1, "as good", 0.8, learning_rate=4e-4, scheduler="cosine"),
    entry(4, "as good", 0.8, learning_rate=1e-3, scheduler="cosine"),
    entry(2, "failed", None, learning_rate=5e-5, scheduler="cosine"),
]


def test_the_trials_of_a_sweep_are_drawn_best_first_with_their_intervals(tmp_path: Path, drawn: list[Any]) -> None:
    plot_sweep(RANKING, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    trials, rate, scheduler = drawn[0].get_axes()
    assert [label.get_text() for label in trials.get_yticklabels()] == [
        *("3:  0.0002, linear", "1:  0.0004, cosine", "4:  0.001, cosine", "2:  5e-05, cosine"),
    ]
    assert trials.get_ylim()[0] > trials.get_ylim()[1]  # the first one is on top
    assert labels(trials) == ["best", "cannot be told from the best"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in trials.lines] == [(0.9, 0), (0.8, 1), (0.8, 2)]
    (low, high), *_ = (segment[:, 0] for lines in trials.collections for segment in lines.get_segments())
    assert (low, high) == pytest.approx((0.8, 1.0))
    assert [text.get_text() for text in trials.texts] == ["failed"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in rate.lines] == [(1e-3, 0.8), (4e-4, 0.8), (2e-4, 0.9)]
    assert rate.get_xscale() == "log"
    assert [label.get_text() for label in scheduler.get_xticklabels()] == ["cosine", "linear"]
    assert [axes.get_xlabel() for axes in (rate, scheduler)] == ["learning_rate", "scheduler"]


def test_many_searched_settings_take_several_rows(tmp_path: Path, drawn: list[Any]) -> None:
    names = ("a", "b", "c", "d", "e")
    plot_sweep([entry(1, "best", 0.5, **dict.fromkeys(names, 1))], tmp_path / "sweep.png")
    seen = [axes.get_xlabel() for axes in drawn[0].get_axes()[1:] if axes.get_visible()]
    assert seen == list(names)
    assert drawn[0].get_axes()[1].get_subplotspec().get_geometry()[:2] == (2, 4)
