"""What a run will cost, shown before the first call, and the question whether it may."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from rasa_ft_ext.cli.output import DryRun, Shown

if TYPE_CHECKING:
    from rich.table import Table

    from rasa_ft_ext.llm.estimate import Confirm, Estimate

_WORDS = {"annotate": "running the tests", "rephrase": "rephrasing", "validate": "checking"}
_IS_FREE = "No LLM is to be called: all that is needed is there."


def confirm(args: Namespace, shown: Shown) -> Confirm:
    """What the API shows an estimate to.

    In a terminal it is a table, and a question where the price is above `--confirm-above`; elsewhere it is a line, and
    an error where it is.
    """

    def agree(estimate: Estimate) -> None:
        if args.dry_run:
            _print(estimate)
            raise DryRun
        if estimate.calls:
            with shown.paused():  # until then stderr is not the terminal but the bar's
                is_person = sys.stdin.isatty() and sys.stderr.isatty()
                _show(estimate, is_person)
                if not args.yes:
                    _ask(estimate, args.confirm_above, is_person)

    return agree


def _print(estimate: Estimate) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True)
    console.print(_table(estimate) if estimate.calls else _IS_FREE)


def _show(estimate: Estimate, is_person: bool) -> None:
    from rich.console import Console

    if is_person:
        Console(stderr=True).print(_table(estimate))
    else:
        print(_line(estimate), file=sys.stderr)


def _ask(estimate: Estimate, limit: float, is_person: bool) -> None:
    """Ask where the price is above the limit.

    Raises:
        BudgetError: nobody can be asked, or the answer is no.
    """
    from rasa_ft_ext.errors import BudgetError
    from rasa_ft_ext.llm.prices import dollars

    price = estimate.price
    if price is None or price <= limit:
        return
    if not is_person:
        raise BudgetError(
            f"The calls may cost {dollars(price)}, and nobody can be asked whether they may cost more than the "
            f"{dollars(limit)} of --confirm-above. Give --yes, best with --max-cost, or a higher --confirm-above. "
            "Nothing was called."
        )
    print(f"Go on, for at most about {dollars(price)}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BudgetError("Nothing was called, and nothing was paid.")


def _table(estimate: Estimate) -> Table:
    from rich.table import Table
    from rich.text import Text

    from rasa_ft_ext.llm.prices import dollars

    table = Table(title="LLM calls to come, at most", title_justify="left")
    table.add_column("for", no_wrap=True)
    table.add_column("model", overflow="fold")
    for name in ("calls", "tokens in", "tokens out", "dollars"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in estimate.lines:
        tokens = (f"{line.prompt_tokens:,}", f"{line.completion_tokens:,}")
        table.add_row(_WORDS[line.stage], Text(line.model), f"{line.calls:,}", *tokens, _bare(dollars(line.price)))
    if len(estimate.lines) > 1:
        table.add_section()
        table.add_row("in all", "", f"{estimate.calls:,}", "", "", _bare(_price(estimate)))
    return table


def _line(estimate: Estimate) -> str:
    return f"At most {estimate.calls:,} LLM calls are to come. Price: {_price(estimate)}."


def _bare(price: str) -> str:
    """A price in a column of dollars."""
    return price.replace(" dollars", "")


def _price(estimate: Estimate) -> str:
    from rasa_ft_ext.llm.prices import dollars

    more = " and more" if estimate.price is not None and estimate.unknown else ""
    return f"{dollars(estimate.price)}{more}"
