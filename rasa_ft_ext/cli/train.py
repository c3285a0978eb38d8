"""`train`: fine-tune a model on the rows of `split`.

Every setting of `rasa_ft_ext.train.settings` is a flag here, with its sentences as help. The class is read as text
and not imported, because it needs pydantic, which takes longer to load than `rasa-ft --help` should.
"""

from __future__ import annotations

import ast
import logging
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rasa_ft_ext.cli import arguments, output
from rasa_ft_ext.train.libraries import require_libraries

SETTINGS = Path(__file__).parents[1] / "train" / "settings.py"
RECIPES = SETTINGS.with_name("recipes")

GROUPS = {
    "Model": ("base_model", "revision", "chat_template", "chat_template_kwargs"),
    "Method": ("method", "quantization_bits", "lora_rank", "lora_alpha", "lora_dropout", "target_modules", "adapter"),
    "Optimisation": (
        *("learning_rate", "epochs", "max_steps", "batch_size", "gradient_accumulation", "warmup_ratio", "scheduler"),
        *("weight_decay", "max_grad_norm", "seed", "prefix_sharing", "gradient_checkpointing", "precision", "device"),
    ),
    "Data": ("max_length", "over_length", "syntax"),
    "Evaluation": ("evaluations_per_epoch", "early_stopping_patience", "answers_max_tokens", "eval_batch_size"),
    "Output": ("report_to", "save_4bit"),
}
_METAVARS = {
    **dict.fromkeys(("Count", "CountOrNone", "Seed"), "N"),
    **dict.fromkeys(("Positive", "NotNegative", "Share"), "X"),
    **dict.fromkeys(("Modules", "Trackers"), "NAMES"),
    "AdapterFolder": "DIR",
    "TemplateFile": "FILE",
    "TemplateArguments": "JSON",
}


class Setting(NamedTuple):
    """A field of the settings, as it stands in the source."""

    kind: str
    choices: tuple[Any, ...]
    default: Any
    text: str


def settings_in_source() -> dict[str, Setting]:
    """The fields of the settings by name."""
    tree = ast.parse(SETTINGS.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainSettings")
    return dict(_fields(body))


def _fields(body: list[ast.stmt]) -> Iterator[tuple[str, Setting]]:
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = ast.unparse(node.annotation).removesuffix(" | None")
            choices = ast.literal_eval(kind.removeprefix("Literal")) if kind.startswith("Literal[") else []
            default = ast.literal_eval(node.value) if node.value else None
            text = ast.literal_eval(below.value) if isinstance(below, ast.Expr) else ""
            yield node.target.id, Setting(kind, tuple(choices), default, " ".join(cleandoc(text).split()))


def add_arguments(parser: ArgumentParser) -> None:
    add_rows(parser)
    parser.add_argument(
        "--out-model", metavar="DIR", default="finetuned_model", help="Folder that the model is written to."
    )
    parser.add_argument(
        "--force", action="store_true", help="Train anew; everything in the model's folder is removed first."
    )
    parser.add_argument(
        "--final",
        action="store_true",
        help="Train on the training and the validation rows together, when the settings have been chosen.",
    )
    add_settings(parser)


def add_rows(parser: ArgumentParser) -> None:
    """Where the rows are that `rows_of` gives."""
    parser.add_argument("output", nargs="?", help="Folder with the results of `split` (default: output).")
    parser.add_argument("-o", "--out", help="The same folder, given as a flag.")
    arguments.add_project(parser)
    parser.add_argument(
        "--train-file", metavar="FILE", help="Rows to train on, in place of those in the folder with the results."
    )
    parser.add_argument("--val-file", metavar="FILE", help="Rows to validate on, with --train-file.")


def add_settings(parser: ArgumentParser) -> None:
    """Add --settings, --recipe and a flag for every setting; what is not given leaves no trace in the namespace."""
    recipes = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yml")))
    parser.add_argument(
        "--settings",
        metavar="FILE",
        help="YAML file with settings, by the names that the flags have, with underscores.",
    )
    parser.add_argument("--recipe", metavar="NAME", help=f"Settings for a common base model to start from: {recipes}.")
    fields = settings_in_source()
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            flag, options = _flag(name, fields[name])
            group.add_argument(flag, default=SUPPRESS, **options)


def _flag(name: str, field: Setting) -> tuple[str, dict[str, Any]]:
    """A field's flag and what argparse has to know of it; numbers are read, and refused, together with the files."""
    text = field.text.replace("%", "%%")
    if name == "save_4bit":
        return "--save", {"choices": ["16bit", "4bit"], "help": f"{text} (default: 16bit)"}
    default = ", ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    options: dict[str, Any] = {"help": f"{text} (default: {default})" if default not in (None, {}) else text}
    if field.kind == "Switch":
        options["action"] = BooleanOptionalAction
    elif field.choices:
        options.update(choices=field.choices, type=type(field.choices[0]))
    else:
        options["metavar"] = _METAVARS.get(field.kind, field.kind.upper())
    return f"--{name.replace('_', '-')}", options


def given_settings(args: Namespace) -> dict[str, object]:
    """The settings that were given as flags."""
    given = {name: getattr(args, name) for names in GROUPS.values() for name in names if hasattr(args, name)}
    return {**given, "save_4bit": args.save == "4bit"} if hasattr(args, "save") else given


def run(args: Namespace) -> int:
    from rasa_ft_ext.train.processes import one_voice

    with one_voice():
        return _train(args)


def _train(args: Namespace) -> int:
    from rasa_ft_ext.train.processes import is_first
    from rasa_ft_ext.train.settings import load_settings

    rows = rows_of(args)
    file = Path(args.project, args.settings) if args.settings else None
    settings = load_settings(file, args.recipe, given_settings(args), project=Path(args.project))
    require_libraries()
    from rasa_ft_ext.train import stage

    out = Path(args.project, args.out_model)
    how: dict[str, Any] = {"out": out, "settings": settings, "final": args.final, "force": args.force}
    if not is_first():
        logging.disable(logging.WARNING)  # the first process says the same
        stage.train(rows, **how)
        return 0
    with output.progress(args) as shown:
        summary = stage.train(rows, **how, progress=shown)
    output.print_summary("Fine-tuned model", summary, out, shown)
    return 0


def rows_of(args: Namespace) -> Path | tuple[Path, Path | None]:
    """The folder with the results of the stages before, or the files to train on and to validate on."""
    from rasa_ft_ext.errors import ConfigError

    if not args.train_file:
        if args.val_file:
            raise ConfigError("arguments", ["--val-file is given without --train-file, the rows to train on."])
        return Path(args.project, arguments.workspace_folder(args))
    if args.output or args.out:
        raise ConfigError(
            "arguments", [f"The rows are given twice: as {args.output or args.out} and with --train-file."]
        )
    return Path(args.project, args.train_file), Path(args.project, args.val_file) if args.val_file else None
