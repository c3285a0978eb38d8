"""Our sub-commands in the `rasa` command: `rasa llm finetune annotate`, `rephrase`, and so on; and the coverage gate.

Rasa's plug-in manager calls the hook (see `rasa_ft_ext._startup` for how it comes to know it) when its own parsers are
made. Our `prepare-data` takes the place of Rasa's, with all of its flags. The licence stays Rasa's business: `rasa`
checks it before it runs any sub-command.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable
from typing import Any

from pluggy import HookimplMarker

from rasa_ft_ext._startup import warn
from rasa_ft_ext.cli import arguments, check_coverage, output
from rasa_ft_ext.cli.arguments import HelpFormatter
from rasa_ft_ext.cli.main import STAGES, fill

hookimpl = HookimplMarker("rasa")

SubParsers = _SubParsersAction  # the type of what argparse's `add_subparsers` gives; it has no public name


@hookimpl(trylast=True)
def refine_cli(subparsers: Any, parent_parsers: list[ArgumentParser]) -> None:
    """Add the stages to `rasa llm finetune` and the coverage gate to `rasa test e2e`.

    Whatever goes wrong, the `rasa` command goes on without them.
    """
    problems = []
    for add in (_add_stages, _add_coverage):
        try:
            add(subparsers, parent_parsers)
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
    if problems:
        warn("; ".join(problems))


def _add_stages(subparsers: Any, parents: list[ArgumentParser]) -> None:
    finetune = _below(_below(subparsers, "llm"), "finetune")
    _remove(finetune, "prepare-data")
    for name, text in STAGES.items():
        parser = finetune.add_parser(
            name,
            parents=parents,
            conflict_handler="resolve",
            formatter_class=HelpFormatter,
            help=text,
            description=text,
        )
        parser.set_defaults(func=_as_rasa_calls_it(fill(parser, name), name), inside_rasa=True)


def _add_coverage(subparsers: Any, _: list[ArgumentParser]) -> None:
    """Give `rasa test e2e --coverage-report` our count and thresholds; without that flag it is Rasa's alone."""
    parser = _below(subparsers, "test").choices["e2e"]
    arguments.add_coverage(parser)
    arguments.add_suggestions(parser)
    parser.set_defaults(func=_with_coverage(parser.get_default("func")))


def _with_coverage(run_tests: Callable[[Namespace], None]) -> Callable[[Namespace], None]:
    def func(args: Namespace) -> None:
        thresholds = arguments.thresholds_of(args)
        if thresholds is None and args.suggest is None and not args.coverage_report:
            return run_tests(args)
        args.coverage_report = True
        code = output.guarded(lambda args: check_coverage.run_in_rasa(run_tests, args, thresholds), args, "test e2e")
        return sys.exit(code) if code else None

    return func


def _below(subparsers: Any, name: str) -> Any:
    """The sub-parsers of the sub-parser `name`."""
    parser = subparsers.choices[name]
    return next(action for action in parser._actions if isinstance(action, SubParsers))


def _remove(subparsers: Any, name: str) -> None:
    """Take a sub-command away; argparse cannot, and refuses to add another one of the same name."""
    subparsers.choices.pop(name, None)
    subparsers._choices_actions[:] = [entry for entry in subparsers._choices_actions if entry.dest != name]


def _as_rasa_calls_it(run: Callable[[Namespace], int], name: str) -> Callable[[Namespace], None]:
    """A function as `rasa` expects it: a failure ends the process with its exit code."""

    def func(args: Namespace) -> None:
        code = output.guarded(run, args, name)
        if code:
            sys.exit(code)

    return func
