"""`doctor`: look at an assistant with a fine-tuned model, and say what has moved away since the training."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import arguments, output

if TYPE_CHECKING:
    from rasa_ft_ext.doctor.findings import Diagnosis

UNHEALTHY = 2
_COLOURS = {"problem": "red", "warning": "yellow", "not checked": "dim", "ok": "green"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", default="output", help="Folder with the data that the model learned from.")
    arguments.add_project(parser)
    parser.add_argument("--config", metavar="FILE", default="config.yml", help="Configuration of the assistant.")
    parser.add_argument("--endpoints", metavar="FILE", default="endpoints.yml", help="Endpoints file of the assistant.")
    parser.add_argument(
        "--assistant-model", metavar="PATH", default="models", help="Trained Rasa model; of a folder, the latest in it."
    )
    parser.add_argument(
        "--model-folder", metavar="DIR", default="finetuned_model", help="Folder that `rasa-ft train` wrote."
    )
    parser.add_argument("--json", metavar="FILE", help="Write all findings into this file as well.")


def run(args: Namespace) -> int:
    from pathlib import Path

    from rasa_ft_ext.api import doctor
    from rasa_ft_ext.files import write_json_file

    with output.progress(args) as shown:
        diagnosis = doctor(
            args.output,
            project=args.project,
            config=args.config,
            endpoints=args.endpoints,
            assistant_model=args.assistant_model,
            model_folder=args.model_folder,
            progress=shown,
        )
    if args.json:
        write_json_file(Path(args.project, args.json), diagnosis)
    _print(diagnosis)
    return 0 if diagnosis.healthy else UNHEALTHY


def _print(diagnosis: Diagnosis) -> None:
    """One line a finding, what to do below it, and the counts."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    for finding in diagnosis.findings:
        reason = f"because {finding.text}" if finding.status == "not checked" else finding.text
        line = Text.assemble(
            (f"{finding.status:<13}", _COLOURS[finding.status]), (f"{finding.check}: ", "bold"), reason
        )
        console.print(line)
        if finding.advice:
            console.print(f"{'':<13}-> {finding.advice}", markup=False, highlight=False)
    counts = ", ".join(f"{diagnosis.count(status)} {status}" for status in _COLOURS)  # type: ignore[arg-type]
    console.print(f"\n{counts}", markup=False, highlight=False)
