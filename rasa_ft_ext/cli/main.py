"""The command `rasa-ft`: one sub-command for each stage, one short module for each sub-command.

`rasa-ft annotate` is `rasa_ft_ext.cli.annotate`, and so on. Such a module has `add_arguments(parser)` and
`run(args) -> int`; the `rasa llm finetune` command takes the same ones. Nothing heavy is imported before `run`.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from rasa_ft_ext._version import __version__
from rasa_ft_ext.cli import logs, output
from rasa_ft_ext.cli.arguments import HelpFormatter, logging_options

DESCRIPTION = "Turn a Rasa assistant and its E2E tests into a small self-hosted LLM for its commands."

# Sub-commands that `rasa llm finetune` has as well, in the order in which the data flows.
STAGES = {
    "prepare-data": "Make fine-tuning data of E2E tests: annotate, rephrase, dataset and split in one go.",
    "annotate": "Run the E2E tests on the assistant and keep the prompt and the commands of every user message.",
    "rephrase": "Paraphrase the user messages and keep the paraphrases that the LLM gives the same commands.",
    "dataset": "Recombine the passing paraphrases into new conversations, one example for every user message.",
    "split": "Divide the examples into training and validation data, by test case.",
    "train": "Fine-tune a small model on the data, measure its commands, and merge and check what is served.",
    "sweep": "Train with several settings, compare their commands on the same examples, and name the best.",
    "serve": "Start vLLM with a model, wait until it answers, and run it until it is stopped.",
    "evaluate": "Measure a served model on examples and E2E tests, and say whether it may replace the teacher.",
    "connect": "Let the assistant use the evaluated model: change its files, or take the change back.",
}
TOOLS = {
    "check-coverage": "Say whether the E2E tests cover the assistant well enough to learn from, and what is missing.",
    "check-data": "Look for contradictions, unknown names, invented values, leaks and repetition in the training data.",
    "doctor": "Look at an assistant with a fine-tuned model, and say what has moved away since the training.",
    "export": "Copy a model to an object store, the Hugging Face Hub or a folder, and prove that it arrived.",
    "monitor": "Compare what users say now with what the model was trained on, and draft tests of the worst.",
    "review": "Accept, reject or edit labels and rephrasings in the browser; the data is made with what was decided.",
    "report": "Write report.html anew: the data, the evaluation and what users say, on one page.",
    "cache": "Say what is kept of the LLM answers that were paid for, or remove them.",
    "prompt-stats": "Count the tokens of the prompts, and how many of them a prefix cache can use again.",
    "scripted-llm": "Serve answers from a file as an OpenAI-compatible LLM, for demos and tests.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rasa-ft` and return its exit code.

    Args:
        argv: The arguments without the program's name; those of the process if None.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "run"):
        parser.print_help(sys.stderr)
        return 2
    return output.guarded(_run, args, args.command)


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(prog="rasa-ft", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"rasa-ft {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    parents = [logging_options()]
    for name, text in {**STAGES, **TOOLS}.items():
        sub = subparsers.add_parser(name, parents=parents, formatter_class=HelpFormatter, help=text, description=text)
        sub.set_defaults(run=fill(sub, name), command=name)
    return parser


def fill(parser: ArgumentParser, name: str) -> Callable[[Namespace], int]:
    """Give a parser the arguments of a sub-command; return what runs it."""
    module = import_module(f"rasa_ft_ext.cli.{name.replace('-', '_')}")
    module.add_arguments(parser)
    run: Callable[[Namespace], int] = module.run
    return run


def _run(args: Namespace) -> int:
    logs.configure(args)
    run: Callable[[Namespace], int] = args.run
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
