"""How fast the report of a big run opens and filters, in a headless Chromium.

    python scripts/benchmark_report.py [--rows 5000] [--repeats 7] [--chromium /usr/bin/chromium] [--json FILE]

The run is made up: as many wordings as there are to be rows, half of them failing, with an example for each of the
others, and a finding of the checks for every fifth. `opens` is the time from the request of the page to its first rows
on the screen, `filters` that from a choice or a typed letter, among the conversations or the findings, to the next
frame with what fits; both are medians and the slowest of all. Exit code 1 says that the page took longer than 2 s to
open or 200 ms to filter.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rasa_ft_ext.checks.findings import CheckReport, Finding, Kind, Place, Severity
from rasa_ft_ext.checks.stage import CHECKS
from rasa_ft_ext.checks.stage import write_report as write_checks
from rasa_ft_ext.commands import Command, write
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    Annotation,
    AssistantCard,
    Conversation,
    Example,
    RephrasedConversation,
    RephrasedFile,
    RephrasedTurn,
    Rephrasing,
    TestFile,
    Turn,
)
from rasa_ft_ext.report.page import write_report
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    ASSISTANT_CARD,
    DATASET,
    EXAMPLES,
    REPHRASINGS,
    SPLIT,
    SUMMARY,
    Workspace,
    record_path,
    write_json,
    write_jsonl,
    write_record,
)

OPENS, FILTERS = 2000.0, 200.0  # milliseconds
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
TURNS, REPHRASINGS_OF_EACH, TESTS_OF_A_FILE = 5, 9, 10
CITIES = ("Basel", "Zürich", "Geneva", "Bern", "Lugano", "Chur", "Thun")
FILTER = """
async ([id, value]) => {
  const field = document.getElementById(id);
  const start = performance.now();
  field.value = value;
  field.dispatchEvent(new Event("input", {bubbles: true}));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000, help="How many wordings there are (5000).")
    parser.add_argument("--repeats", type=int, default=7, help="How often each is measured (7).")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="The browser (the one on the path).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    args = parser.parse_args()
    if args.chromium is None:
        print("There is no chromium on the path; name one with --chromium.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), args.rows, args.repeats, args.chromium)
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if figures["opens_ms"]["slowest"] < OPENS and figures["filters_ms"]["slowest"] < FILTERS else 1


def measure(folder: Path, rows: int, repeats: int, chromium: str) -> dict[str, Any]:
    """Make up a run, write its report, and open and filter it several times."""
    from playwright.sync_api import sync_playwright

    made_up(folder, rows, findings=rows // 5)
    start = time.perf_counter()
    path = write_report(folder)
    written = time.perf_counter() - start
    opens: list[float] = []
    filters: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        for _ in range(repeats):
            page = browser.new_page()
            begun = time.perf_counter()
            page.goto(path.resolve().as_uri())
            page.locator("#browse-list article").first.wait_for()
            opens.append(1000 * (time.perf_counter() - begun))
            for field, value in changes():
                filters.append(page.evaluate(FILTER, [field, value]))
            shown = page.locator("#browse-status").inner_text()
            page.close()
        version = browser.version
        browser.close()
    return {
        "rows": rows,
        "chromium": version,
        "page_bytes": path.stat().st_size,
        "write_s": round(written, 2),
        "opens_ms": _figures(opens),
        "filters_ms": _figures(filters),
        "last_status": shown,
    }


def changes() -> tuple[tuple[str, str], ...]:
    """What is typed and chosen, one after the other."""
    typed = tuple(("browse-search", "zürich"[:at]) for at in range(1, 7))
    return (
        *typed,
        ("browse-search", ""),
        ("browse-kind", "failing rephrasings"),
        ("browse-flow", "flow_3"),
        ("browse-flow", ""),
        ("browse-reason", "other commands"),
        ("browse-kind", ""),
        ("browse-reason", ""),
        ("browse-side", "validation"),
        ("browse-side", ""),
        ("browse-search", "nothing has this"),
        ("browse-search", ""),
        ("findings-search", "line 12"),
        ("findings-severity", "problem"),
        ("findings-kind", "leak"),
        ("findings-search", ""),
        ("findings-severity", ""),
        ("findings-kind", ""),
    )


def _figures(times: list[float]) -> dict[str, float]:
    return {"median": round(median(times), 1), "slowest": round(max(times), 1)}


def made_up(folder: Path, rows: int, *, findings: int = 0) -> Workspace:
    """An output folder as `prepare-data` leaves it, with this many wordings and findings; without checks if none."""
    of_a_test = TURNS * (1 + REPHRASINGS_OF_EACH)
    tests = [_test(number) for number in range(max(1, rows // of_a_test))]
    workspace = Workspace(folder)
    files = [tests[at : at + TESTS_OF_A_FILE] for at in range(0, len(tests), TESTS_OF_A_FILE)]
    _write_annotations(workspace, files)
    rephrased = [[_rephrased(test) for test in of_file] for of_file in files]
    with workspace.writing(REPHRASINGS, {"num_rephrases": REPHRASINGS_OF_EACH}) as made:
        for of_file, found in zip(files, rephrased, strict=True):
            name = of_file[0].file
            write_record(record_path(made, name), RephrasedFile(file=name, conversations=tuple(found)))
        wordings = [one for of_file in rephrased for of in of_file for turn in of.turns for one in turn.rephrasings]
        passing = sum(one.passed for one in wordings)
        write_json(
            made / SUMMARY,
            {
                "rephrasings": len(wordings),
                "passing": passing,
                "failing": len(wordings) - passing,
                "failed_calls": 0,
                "reasons": {"other commands": len(wordings) - passing},
            },
        )
    examples = [
        of
        for tests_, found in zip(files, rephrased, strict=True)
        for pair in zip(tests_, found, strict=True)
        for of in _examples(*pair)
    ]
    _write_examples(workspace, examples)
    if findings:
        write_checks(workspace.folder(SPLIT) / CHECKS, _report(tests, findings))
    return workspace


def _write_annotations(workspace: Workspace, files: list[list[Conversation]]) -> None:
    messages = TURNS * sum(map(len, files))
    with workspace.writing(ANNOTATIONS, {}) as made:
        for of_file in files:
            name = of_file[0].file
            write_record(
                record_path(made, name), AnnotatedFile(source=TestFile(file=name), conversations=tuple(of_file))
            )
        flows = {f"flow_{number}": "" for number in range(8)}
        card = AssistantCard(
            rasa_version="3.21.0",
            model="made-up.tar.gz",
            generator="CompactLLMCommandGenerator",
            syntax="v2",
            llm={},
            flows=flows,
        )
        write_record(made / ASSISTANT_CARD, card)
        write_json(
            made / SUMMARY,
            {
                "tests": messages // TURNS,
                "passed": messages // TURNS,
                "user_messages": messages,
                "annotated": messages,
                "to_rephrase": messages,
            },
        )


def _write_examples(workspace: Workspace, examples: list[Example]) -> None:
    cut = len(examples) * 4 // 5
    with workspace.writing(DATASET, {}) as made:
        write_jsonl(made / EXAMPLES, [example.model_dump(mode="json") for example in examples])
        figures = {"recombinations": 0, "examples": len(examples), "duplicates": 0, "left_out": 0}
        write_json(made / SUMMARY, figures)
    with workspace.writing(SPLIT, {"train_frac": 0.8, "seed": 42}) as made:
        for name, of_side in (("train", examples[:cut]), ("val", examples[cut:])):
            rows = [{"prompt": example.prompt, "completion": example.completion} for example in of_side]
            write_jsonl(made / "ft_splits" / f"{name}.jsonl", rows)
        write_json(
            made / SUMMARY,
            {
                "train_examples": cut,
                "val_examples": len(examples) - cut,
                "train_tests": 0,
                "val_tests": 0,
            },
        )


def _report(tests: list[Conversation], findings: int) -> CheckReport:
    sorts: tuple[tuple[Kind, Severity], ...] = (
        ("leak", "problem"),
        ("ungrounded value", "warning"),
        ("balance", "note"),
    )
    return CheckReport(
        version="0.1.0",
        rows=findings,
        findings=tuple(
            Finding(
                kind=kind,
                severity=severity,
                place=Place(
                    test=tests[at % len(tests)].id, turn=at % TURNS, row=f"ft_splits/train.jsonl line {at + 1}"
                ),
                text=f"slot_{at % TURNS} gets the value {CITIES[at % len(CITIES)]!r}, which nobody said.",
                advice="Look at the message, mend the test or the description, and make the data again.",
            )
            for at in range(findings)
            for kind, severity in (sorts[at % len(sorts)],)
        ),
    )


def _commands(test: int, turn: int) -> tuple[Command, ...]:
    city = CITIES[(test + turn) % len(CITIES)]
    start = (Command(type="StartFlow", args=(f"flow_{test % 8}",)),) if turn == 0 else ()
    return (*start, Command(type="SetSlot", args=(f"slot_{turn}", city)))


def _test(number: int) -> Conversation:
    turns = []
    for at in range(TURNS):
        commands = _commands(number, at)
        message = f"Message {at} of test {number}: I would like to travel to {commands[-1].args[1]} on May {at + 1}"
        annotation = Annotation(
            generator="CompactLLMCommandGenerator",
            syntax="v2",
            prompt=_prompt(message),
            template="t",
            variables={},
            renders=True,
            answer=write(commands, "v2"),
            commands=commands,
        )
        turns.append(Turn(step=2 * at, message=message, events_before=2 * at, annotation=annotation))
    steps = [step for turn in turns for step in ({"user": turn.message}, {"bot": "All right. What else can I do?"})]
    file = f"area/tests_{number // TESTS_OF_A_FILE}.yml"
    name = f"traveller number {number} asks for several things"
    return Conversation(
        id=f"{file}::{name}", file=file, name=name, test_case={"test_case": name, "steps": steps}, turns=tuple(turns)
    )


def _prompt(message: str) -> str:
    return f"{'This is how a task is described to the model. ' * 100}\nThe user says: {message}"


def _rephrased(test: Conversation) -> RephrasedConversation:
    return RephrasedConversation(
        id=test.id,
        turns=tuple(
            RephrasedTurn(
                turn=at,
                message=turn.message,
                rephrasings=tuple(_rephrasing(turn, number) for number in range(REPHRASINGS_OF_EACH)),
            )
            for at, turn in enumerate(test.turns)
        ),
    )


def _rephrasing(turn: Turn, number: int) -> Rephrasing:
    text = f"{turn.message}, said in other words for the time number {number}, please"
    labels = turn.annotation.labels if turn.annotation else ()
    if number % 2:
        return Rephrasing(text=text, passed=False, commands=labels[:1], reason="other commands: does not set slot x")
    return Rephrasing(text=text, passed=True, commands=labels, label=labels)


def _examples(test: Conversation, rephrased: RephrasedConversation) -> list[Example]:
    made = []
    for at, turn in enumerate(test.turns):
        labels = turn.annotation.labels if turn.annotation else ()
        for variant, text in enumerate([turn.message, *(one.text for one in rephrased.passing(at))]):
            made.append(
                Example(
                    test=test.id,
                    turn=at,
                    step=turn.step,
                    variant=variant,
                    message=text,
                    original_message=turn.message,
                    prompt=_prompt(text),
                    completion=write(labels, "v2"),
                    commands=labels,
                    syntax="v2",
                    made_by="rendered",
                )
            )
    return made


if __name__ == "__main__":
    sys.exit(main())
