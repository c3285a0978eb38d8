"""The arguments on calls of LLMs: how many and how fast, where answers are kept, what they may cost."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import values

if TYPE_CHECKING:
    from rasa_ft_ext.llm.options import CallOptions

CONFIRM_ABOVE = 5.0


def add_calls(parser: ArgumentParser, *, batch: bool = True) -> None:
    """All of them, for a command whose calls are paid for.

    Args:
        parser: The sub-command's parser.
        batch: Whether some of its calls can be made in batches.
    """
    group = parser.add_argument_group("LLM calls")
    group.add_argument(
        "--concurrency",
        type=values.positive_int,
        default=16,
        metavar="N",
        help="Conversations and LLM calls at a time; fewer where the server throttles.",
    )
    group.add_argument(
        "--max-requests-per-minute",
        type=values.positive_int,
        metavar="N",
        help="Calls that one server gets in a minute.",
    )
    group.add_argument(
        "--max-tokens-per-minute",
        type=values.positive_int,
        metavar="N",
        help="Tokens of prompts and answers that one server handles in a minute.",
    )
    group.add_argument(
        "--llm-timeout",
        type=values.positive,
        metavar="SECONDS",
        help="Time that one call may take, in place of what the LLM's configuration says.",
    )
    if batch:
        group.add_argument(
            "--llm-mode",
            choices=["calls", "batch"],
            default="calls",
            help="How rephrasings are asked for and checked: call by call, or in batches, at half the price and within "
            "a day.",
        )
    _add_cache(parser)
    _add_cost(parser)
    add_workers(parser)


def _add_cache(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Cache of answers")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--cache", metavar="DIR", help="Folder to keep answers in, and to share them (default: in the output folder)."
    )
    either.add_argument("--no-cache", action="store_true", help="Keep no answer, and use none that was kept.")


def _add_cost(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Cost")
    group.add_argument("--dry-run", action="store_true", help="Say what calls there would be, and end.")
    group.add_argument(
        "--confirm-above",
        type=values.price,
        default=CONFIRM_ABOVE,
        metavar="DOLLARS",
        help="Ask before the first call if all of them may cost more than this.",
    )
    group.add_argument("-y", "--yes", action="store_true", help="Do not ask.")
    group.add_argument(
        "--max-cost", type=values.price, metavar="DOLLARS", help="Stop before the run pays more than this in all."
    )
    group.add_argument(
        "--price-per-1k",
        type=values.price_per_1k,
        metavar="IN:OUT",
        help="Dollars for 1,000 tokens of prompts and of answers, for models whose price is not known: self-hosted "
        "ones, deployments of a name of yours.",
    )


def add_workers(parser: ArgumentParser) -> None:
    """Who does the work of Rasa."""
    group = parser.add_argument_group("Work")
    group.add_argument(
        "--workers", type=values.positive_int, default=1, metavar="N", help="Processes that do the work of Rasa."
    )
    group.add_argument(
        "--backend",
        choices=["processes", "ray"],
        default="processes",
        help="Where they are: on this machine, or on a Ray cluster.",
    )


def call_options(args: Namespace) -> CallOptions:
    """What was said about calls; a command that has not all of the arguments gets the defaults of the others."""
    from rasa_ft_ext.llm.options import CallOptions

    names = {
        "concurrency": "concurrency",
        "max_requests_per_minute": "max_requests_per_minute",
        "max_tokens_per_minute": "max_tokens_per_minute",
        "timeout": "llm_timeout",
        "cache": "cache",
        "mode": "llm_mode",
        "price_per_1k": "price_per_1k",
        "max_cost": "max_cost",
        "workers": "workers",
        "backend": "backend",
    }
    given = {name: getattr(args, flag) for name, flag in names.items() if hasattr(args, flag)}
    return CallOptions(**given, use_cache=not getattr(args, "no_cache", False))
