"""`sweep`: find the settings that train the best model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import output, train, values
from rasa_ft_ext.train.libraries import require_libraries

if TYPE_CHECKING:
    from rasa_ft_ext.train.trials import Ranked

NARROWEST = 104  # columns that the table is given in any case: narrower, it cannot be read


def add_arguments(parser: ArgumentParser) -> None:
    train.add_rows(parser)
    parser.add_argument(
        "--trials", type=values.positive_int, default=12, metavar="N", help="How many settings are tried."
    )
    parser.add_argument(
        "--search",
        metavar="FILE",
        help="YAML file with what is tried: settings as keys, each with a list of values or a range. Left out, these "
        "are learning_rate, lora_rank, epochs and batch_size, but for those that are given as flags.",
    )
    parser.add_argument("--out-sweep", metavar="DIR", default="sweep", help="Folder that the results are written to.")
    parser.add_argument(
        "--final",
        action="store_true",
        help="Then train with the best settings on the training and the validation rows together.",
    )
    parser.add_argument(
        "--out-model", metavar="DIR", default="finetuned_model", help="Folder that the model of --final is written to."
    )
    parser.add_argument("--force", action="store_true", help="Start anew and replace what is in these folders.")
    train.add_settings(parser)


def run(args: Namespace) -> int:
    from rasa_ft_ext.train.settings import load_settings
    from rasa_ft_ext.train.space import default_space, load_space

    rows = train.rows_of(args)
    file = Path(args.project, args.settings) if args.settings else None
    fixed = train.given_settings(args)
    settings = load_settings(file, args.recipe, fixed, project=Path(args.project))
    space = (
        load_space(Path(args.project, args.search), settings, fixed) if args.search else default_space(settings, fixed)
    )
    require_libraries("optuna")
    from rasa_ft_ext.train.sweep import BEST, sweep

    out, final = Path(args.project, args.out_sweep), Path(args.project, args.out_model)
    with output.progress(args) as shown:
        summary = sweep(
            rows,
            out=out,
            settings=settings,
            space=space,
            trials=args.trials,
            final=final if args.final else None,
            force=args.force,
            progress=shown,
        )
    _print_ranking(summary.ranking)
    output.print_summary("Sweep", summary.model_copy(update={"ranking": ()}), out, shown)
    if summary.final_model:
        output.print_summary("Fine-tuned model", summary.final_model, final, shown)
    else:
        print(f"Train with the best settings: rasa-ft train --settings {out / BEST}")
    return 0


def _print_ranking(ranking: Sequence[Ranked]) -> None:
    """Print a line for each trial, best first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console = Console(width=max(console.width, NARROWEST))
    names = list(ranking[0].chosen)
    table = Table(title="Trials, best first", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    headers = ["trial", *(name.replace("_", "\n", 1) for name in names), "accuracy", "95 %\ninterval", "loss"]
    for header in (*headers, "best\nepoch", "seconds", "p"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for trial in ranking:
        table.add_row(*_cells(trial, names), style="bold" if trial.verdict == "best" else None)
    console.print(table)
    console.print(
        "p: McNemar's exact test against the best trial, corrected for all comparisons (Holm); below 0.05 it is worse.",
        style="dim",
        soft_wrap=True,
    )


def _cells(trial: Ranked, names: Sequence[str]) -> Iterator[str]:
    from rasa_ft_ext.train.trials import value

    yield str(trial.number)
    yield from (value(trial.chosen[name]) for name in names)
    yield "" if trial.accuracy is None else f"{trial.accuracy:.1%}"
    yield "" if trial.interval is None else f"{100 * trial.interval[0]:.0f} - {trial.interval[1]:.0%}"
    yield "" if trial.loss is None else f"{trial.loss:.4f}"
    yield "" if trial.best_epoch is None else f"{trial.best_epoch:g}"
    yield "" if trial.seconds is None else f"{trial.seconds:.0f}"
    yield "" if trial.p_corrected is None else f"{trial.p_corrected:.2g}"
    yield trial.verdict
