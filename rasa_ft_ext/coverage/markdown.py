"""Coverage as Markdown, to be put under a pull request: the verdict first, then what is missing and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rasa_ft_ext.coverage_results import Coverage

_GAPS = 100


def to_markdown(coverage: Coverage) -> str:
    """The whole text."""
    parts = [_head, _flows, _gaps, _commands, _slots, _differences]
    return "\n".join([*(line for part in parts for line in part(coverage)), ""])


def _head(coverage: Coverage) -> Iterator[str]:
    yield "# Coverage of the E2E tests"
    yield ""
    yield f"**{_text(coverage.sentence)}**"
    yield ""
    yield coverage.counted
    yield ""
    yield from (f"- {_text(check.sentence)}" for check in coverage.failures)
    yield from (f"- Note: {_text(note)}" for note in coverage.notes)
    yield from [""] * bool(coverage.failures or coverage.notes)


def _flows(coverage: Coverage) -> Iterator[str]:
    yield from _table(
        "Flows",
        ["flow", "steps", "covered", "branches", "taken", "tests"],
        [
            [
                flow.id,
                str(flow.steps),
                f"{100 * flow.share:.1f} %",
                str(flow.branches),
                str(flow.taken),
                str(len(flow.tests)),
            ]
            for flow in coverage.flows
        ],
    )


def _gaps(coverage: Coverage) -> Iterator[str]:
    gaps = coverage.gaps
    names = ["where", "flow", "what"]
    rows = [[gap.place, gap.flow, gap.what] for gap in gaps[:_GAPS]]
    if any(gap.suggestion for gap in gaps):
        names.append("suggested test")
        rows = [[*row, gap.suggestion or ""] for row, gap in zip(rows, gaps, strict=False)]
    yield from _table("Not covered", names, rows)
    if len(gaps) > _GAPS:
        yield f"And {len(gaps) - _GAPS} more."
        yield ""


def _commands(coverage: Coverage) -> Iterator[str]:
    names = ["command", "times", "in the prompt"]
    rows = [[entry.name, str(entry.count), "yes" if entry.offered else ""] for entry in coverage.commands]
    if any(entry.suggestion for entry in coverage.commands):
        names.append("suggested test")
        rows = [[*row, entry.suggestion or ""] for row, entry in zip(rows, coverage.commands, strict=True)]
    yield from _table("Commands", names, rows)


def _slots(coverage: Coverage) -> Iterator[str]:
    rows = [
        [slot.name, str(slot.filled), str(slot.by_command), ", ".join(slot.unseen) or ""] for slot in coverage.slots
    ]
    yield from _table("Slots", ["slot", "filled", "by a command", "values that it never had"], rows)


def _differences(coverage: Coverage) -> Iterator[str]:
    rows = [
        [entry.flow, f"{100 * entry.ours:.1f} %", f"{100 * entry.rasas:.1f} %", "; ".join(entry.why)]
        for entry in coverage.differences
    ]
    yield from _table("Where Rasa's own report says something else", ["flow", "here", "Rasa", "why"], rows)


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield f"## {title}"
    yield ""
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"
    yield ""


def _text(value: str) -> str:
    """On one line, with nothing that Markdown or HTML would take for its own."""
    text = " ".join(value.split())
    for sign in "\\`*_|[]#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
