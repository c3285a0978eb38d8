"""How figures are shown to a person, wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

from rasa_ft_ext.evaluation import CommandFigures, Evaluation, Figure, PassRate, Side


def shown(figure: Figure) -> str:
    """A share with its interval, such as `93.1 % (88.1 to 96.2)`."""
    if figure.value is None:
        return "-"
    text = f"{100 * figure.value:.1f} %"
    if figure.low is None or figure.high is None:
        return text
    return f"{text} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def seconds(value: float | None) -> str:
    """A time in the unit that is read best."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def count(number: float) -> str:
    return f"{number:,.4f}".rstrip("0").rstrip(".") if isinstance(number, float) else f"{number:,}"


def number_of(number: int, what: str) -> str:
    """Such as `1 row` or `1,234 rows`."""
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Such as `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def coded(text: str) -> Markup:
    """A sentence in which what stands between backticks is shown as code; whatever it says is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its like is one
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def _rate(name: str) -> Callable[[CommandFigures], str]:
    def of(figures: CommandFigures) -> str:
        figure: Figure = getattr(figures, name)
        return shown(figure)

    return of


COMMAND_ROWS: dict[str, Callable[[CommandFigures], str]] = {
    "examples": lambda figures: count(figures.examples),
    "answers with just the expected commands": _rate("exact_match"),
    "answers without any command": _rate("unparsable"),
    "slots set to the right value": _rate("slot_value_accuracy"),
    "F1 of all commands": _rate("micro_f1"),
    "mean F1 of the types of command": _rate("macro_f1"),
    "calls that failed": lambda figures: count(figures.failed_calls),
    "time of a call: median": lambda figures: seconds(figures.seconds_p50),
    "time of a call: 95 % are faster than": lambda figures: seconds(figures.seconds_p95),
    "tokens of the prompts": lambda figures: count(figures.prompt_tokens),
    "tokens of the answers": lambda figures: count(figures.completion_tokens),
    "price": lambda figures: count(figures.price),
}
"""The figures of `CommandFigures` that are shown, by what they are called."""

MONITORING_ROWS = {
    "failed_calls": "calls of the LLM that failed",
    "unparsed": "no command could be read",
    "cannot_handle": "could not be handled",
    "clarifications": "asked what was meant",
    "chitchat": "small talk",
    "knowledge": "questions of fact",
    "handoffs": "handed over",
    "untrained_flows": "start a flow that was never trained",
    "far": "far from the training data",
}
"""What the shares of `monitoring.WHOLES` are called."""


def overview(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """The figures in rows of a name and one cell for validation and train each; what was not measured has no row."""
    rows: list[tuple[str, str, str]] = []
    rates: tuple[tuple[str, Mapping[Side, PassRate]], ...] = (
        ("E2E tests passed", evaluation.conversations),
        ("with the teacher", evaluation.teacher),
    )
    for name, of_sides in rates:
        if of_sides:
            rows.append(_row(name, {side: shown(rate.rate) for side, rate in of_sides.items()}))
            if any(rate.noise is not None for rate in of_sides.values()):
                rows.append(_row("change between runs", {side: percent(rate.noise) for side, rate in of_sides.items()}))
    if evaluation.comparison:
        results = {side: compared.result for side, compared in evaluation.comparison.items()}
        rows.append(_row("beside the teacher", {side: str(result) for side, result in results.items()}))
    if evaluation.commands:
        of = evaluation.commands.items()
        rows += [_row(name, {side: show(figures) for side, figures in of}) for name, show in COMMAND_ROWS.items()]
    if evaluation.parity is not None:
        apart = f"at most {evaluation.parity.largest_difference:.2g}"
        rows.append(("log probabilities differ from the folder's by", apart, ""))
    return rows


def _row(name: str, cells: Mapping[Side, str]) -> tuple[str, str, str]:
    return name, cells.get("validation", "-"), cells.get("train", "-")
