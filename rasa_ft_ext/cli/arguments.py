"""The arguments that several sub-commands share, each group in one function.

Flags, names and defaults that Rasa's own `prepare-data` has are the same here. This module knows argparse only:
nothing heavy is imported until a command runs.
"""

from __future__ import annotations

import logging
from argparse import Action, ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import values
from rasa_ft_ext.cli.values import MAX_REPHRASES

if TYPE_CHECKING:
    from rasa_ft_ext.coverage_results import Thresholds

TESTS = "path-to-e2e-test-cases"


class HelpFormatter(ArgumentDefaultsHelpFormatter):
    """Shows an argument's default, where it has one."""

    def _get_help_string(self, action: Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)


def logging_options() -> ArgumentParser:
    """A parent parser with the logging flags of the `rasa` command, which brings its own."""
    parser = ArgumentParser(add_help=False)
    group = parser.add_argument_group("Logging")
    levels = (
        (("-v", "--verbose"), logging.INFO, "Log what is being done (level INFO)."),
        (("-vv", "--debug"), logging.DEBUG, "Log everything (level DEBUG)."),
        (("--quiet",), logging.WARNING, "Log warnings and errors only, and draw no progress bar."),
    )
    for flags, level, text in levels:
        group.add_argument(*flags, dest="loglevel", action="store_const", const=level, help=text)
    group.add_argument("--logging-config-file", help="YAML file with a configuration of Python's logging.")
    return parser


def add_project(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--project", default=".", help="Folder of the assistant's project; every relative path starts from it."
    )


def add_tests(parser: ArgumentParser) -> None:
    parser.add_argument(TESTS, nargs="?", default="e2e_tests", help="File or folder with the E2E tests.")


def add_out(parser: ArgumentParser) -> None:
    parser.add_argument("-o", "--out", default="output", help="Folder that the results are written to.")
    _add_force(parser)


def add_workspace(parser: ArgumentParser) -> None:
    """The folder in which a single stage finds the results of the stage before, and leaves its own."""
    parser.add_argument("output", nargs="?", help="Folder with the results of the stages before (default: output).")
    parser.add_argument("-o", "--out", help="The same folder, given as a flag.")
    _add_force(parser)


def workspace_folder(args: Namespace) -> str:
    """The folder given in either of the two ways of `add_workspace`.

    Raises:
        ConfigError: both were given, and they differ.
    """
    if args.output and args.out and args.output != args.out:
        from rasa_ft_ext.errors import ConfigError

        raise ConfigError("arguments", [f"The output folder is given twice: {args.output} and --out {args.out}."])
    folder: str = args.output or args.out or "output"
    return folder


def _add_force(parser: ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="Run anew and replace what is in that folder.")


def add_assistant(parser: ArgumentParser, *, required: bool = True, flags: tuple[str, ...] = ("-m", "--model")) -> None:
    """Where the assistant is.

    Args:
        parser: The sub-command's parser.
        required: Whether the stage cannot do without the assistant itself.
        flags: What the trained assistant is called, where `--model` is another one.
    """
    group = parser.add_argument_group("Assistant")
    text = "Trained Rasa model; of a folder, the latest model in it."
    if not required:
        text += " Without it, prompts come from the recorded annotations, and Rasa is not needed."
    group.add_argument(*flags, default="models" if required else None, help=text)
    group.add_argument("--endpoints", default="endpoints.yml", help="Endpoints file of the assistant.")
    group.add_argument("--sub-agents", default="sub_agents", help="Folder with the assistant's sub-agents.")
    group.add_argument("--remote-storage", help="Remote storage of the model: aws, gcs, azure, or a class of yours.")


def add_annotations(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--annotations",
        metavar="DIR",
        help="Use the annotations recorded in this folder instead of running the tests on the assistant: needs neither "
        "Rasa nor a model.",
    )


def add_rephrasing(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Rephrasing")
    group.add_argument(
        "--num-rephrases",
        type=values.num_rephrases,
        choices=range(MAX_REPHRASES + 1),
        metavar=f"0..{MAX_REPHRASES}",
        default=10,
        help="Rephrasings to ask for, per user message.",
    )
    group.add_argument("--rephrase-config", help="YAML file with the rephrasing's prompt template and LLM.")
    group.add_argument(
        "--slot-values",
        choices=["own", "original", "strict"],
        default="own",
        help="Label of a rephrasing that gives a slot another value: the rephrasing's own commands, those of the "
        "original message, or none (the rephrasing is dropped).",
    )
    group.add_argument(
        "--llm-api-base",
        metavar="URL",
        help="Where the LLM of recorded annotations is, in place of the recorded address.",
    )


def add_variety(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("More variety, still true")
    group.add_argument(
        "--substitute-slots",
        type=values.count,
        nargs="?",
        const=1,
        default=0,
        metavar="N",
        help="Try so many wordings with another slot value per user message (without N: one): in the message, in its "
        "label and in what follows.",
    )
    group.add_argument(
        "--substitute-values",
        metavar="FILE",
        help="YAML file with the values to take: `slot: [value, ...]`. Without it, those that the assistant allows or "
        "other tests use.",
    )
    group.add_argument(
        "--noise",
        metavar="KINDS[:SHARE]",
        help="Add noisy copies of this share of the messages and rephrasings (0.2 if none is given). Kinds, separated "
        "by commas: asr, typo, casing.",
    )
    group.add_argument(
        "--self-consistency",
        type=values.positive_int,
        default=1,
        metavar="N",
        help="Ask the assistant's LLM N times about each message and rephrasing, keep what the majority says, and "
        "report how often it disagrees with itself.",
    )


def add_student_prompt(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--student-prompt",
        metavar="FILE",
        help="Prompt template of the model to be trained: compact, minimal, or a jinja2 file. The labels are still the "
        "answers to the assistant's own prompt, which is the default for both.",
    )


def add_redact(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--redact",
        action="store_true",
        help="Mask e-mail addresses, phone, card and IBAN numbers in the examples: PHONE_1 in prompt and label alike.",
    )


def add_review(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--review",
        metavar="FILE",
        help="File with the decisions of `rasa-ft review` (default: review.yaml in the folder of the results).",
    )


def add_concurrency(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--concurrency",
        type=values.positive_int,
        default=16,
        metavar="N",
        help="Conversations and LLM calls at a time.",
    )


def add_coverage(parser: ArgumentParser) -> None:
    """The thresholds of coverage, which `thresholds_of` reads."""
    group = parser.add_argument_group("Coverage thresholds")
    for flag, text in (
        ("--min-coverage", "Percentage of all steps that passing tests must cover."),
        ("--min-flow-coverage", "Percentage of the steps of every flow that they must cover."),
        ("--min-slot-coverage", "Percentage of the slots that flows collect that must get a value."),
    ):
        group.add_argument(flag, type=values.percentage, metavar="PERCENT", help=text)
    group.add_argument(
        "--min-command-count", type=values.count, metavar="N", help="How often every command of the prompt must occur."
    )
    group.add_argument(
        "--coverage-gate",
        action="store_true",
        help="What the recipe asks for: 90 %% of all steps, 80 %% of every flow, every command once. A threshold that "
        "is given as well counts in its place.",
    )


def add_suggestions(parser: ArgumentParser) -> None:
    """Tests for what is not covered, and who words them."""
    group = parser.add_argument_group("Suggested tests")
    group.add_argument(
        "--suggest",
        nargs="?",
        type=values.wording,
        const="drafts",
        metavar="drafts|llm",
        help="Write E2E tests for what is not covered, in the folder `suggested` of the results: with messages drafted "
        "from the descriptions of flows and slots (also without a value), or worded by an LLM.",
    )
    group.add_argument("--rephrase-config", help="YAML file with that LLM, as rephrase has it.")


def thresholds_of(args: Namespace) -> Thresholds | None:
    """The thresholds that were given; None if none was."""
    from rasa_ft_ext.coverage_results import GATE, Thresholds

    base = GATE if args.coverage_gate else Thresholds()
    named = {
        "total": args.min_coverage,
        "flow": args.min_flow_coverage,
        "slots": args.min_slot_coverage,
        "command": args.min_command_count,
    }
    found = base.model_copy(update={name: value for name, value in named.items() if value is not None})
    return found if found.given else None


def add_split(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Train/validation split")
    group.add_argument(
        "--train-frac", type=values.fraction, default=0.8, help="Part of the data to train on, above 0 and at most 1."
    )
    formats = ["instruction", "conversational"]
    group.add_argument(
        "--output-format",
        choices=formats,
        nargs="?",
        const=formats[0],
        default=formats[0],
        help="Format of the data files.",
    )
    group.add_argument("--seed", type=int, default=42, help="Seed of the split: the same seed gives the same files.")
    group.add_argument(
        "--near-duplicates",
        choices=["report", "drop", "group"],
        default="report",
        help="What becomes of rows that are nearly the same: they are reported, all but one are left out, or they are "
        "kept on one side.",
    )
    group.add_argument("--strict", action="store_true", help="Refuse data in which the checks find a fault.")
