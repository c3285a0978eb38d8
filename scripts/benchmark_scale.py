"""Whether memory and time stay flat when the data is big: 10,000 tests with 10 rephrasings of each message, by default.

    python scripts/benchmark_scale.py [--tests 10000] [--rephrases 10] [--json FILE]
    python scripts/benchmark_scale.py --sizes 500 1000 2000 [--json FILE]

The annotations are made up after those of the example: a few of its conversations of two or three messages, in which
each test has messages, names and cities of its own. A scripted LLM, in a process of its own, knows the answers by rule.
The stages are run one after the other by the functions of the Python API, each in a process of its own, so that none
is charged with what another left in memory; at last `prepare-data` is run once more, which finds all of it done.

Seconds of the CPU, since machines are shared, and the peak of the resident memory are told for each stage, and for each
part of about 1,000 tests within it.
The figures come last: how much memory and time grow from one thousand tests to the next. Memory is called flat if a
stage takes at most 2 MiB more for each 1,000 tests, time if a part takes at most a quarter longer at the end of a
stage than at its beginning. With several sizes, the peaks of the stages are compared as well. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rasa_ft_ext import api
from rasa_ft_ext.commands import read
from rasa_ft_ext.conversation import AnnotatedFile, Conversation, TestFile
from rasa_ft_ext.llm.scripted.api import ScriptedLLM
from rasa_ft_ext.llm.scripted.script import Answer, AnswersFile, Script
from rasa_ft_ext.llm.scripted.server import serve
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.prompts import render
from rasa_ft_ext.workspace import ASSISTANT_CARD, FLOW_MAP, read_card, record_path, write_record

RECORDED = Path(__file__).resolve().parent.parent / "assistant_example" / "annotations"
TESTS_OF_A_FILE = 50
STAGES = ("annotate", "rephrase", "dataset", "split", "check-data", "prepare-data")
MIB_PER_THOUSAND, TIME_RATIO = 2.0, 1.25
FEWEST_STEPS = 10

# The conversations that tests are made of, and of which kind their messages are.
SHAPES = (
    ("cars/cancellation.yml", "car is cancelled halfway", ("car", "city", "cancel")),
    ("cars/booking.yml", "slot that is not set before the last user turn", ("car", "city")),
    ("flights/changes.yml", "customer without a flight", ("flight", "bookings")),
    ("repair/questions.yml", "last reply is repeated", ("car", "repeat", "city")),
)
COMMANDS = {
    "car": "StartFlow(search_rental_car)",
    "city": "SetSlot(trip_destination, {city})",
    "cancel": "CancelFlow()",
    "flight": "StartFlow(change_flight)",
    "bookings": "StartFlow(list_bookings)",
    "repeat": "RepeatLastBotMessages()",
}
WORDS = {  # each wording of a kind has a word that tells the kind
    "car": (
        "I need a rental car",
        "could you rent me a car",
        "please find a car for me",
        "get us some car",
        "a car is it",
    ),
    "city": ("it is to {city}", "we are going to {city}", "{city} is the place", "that would be {city}", "in {city}"),
    "cancel": (
        "let us cancel that",
        "cancel it after all",
        "I have to cancel",
        "please cancel all of this",
        "cancel, do",
    ),
    "flight": ("my flight must be moved", "move the flight, please", "a later flight for me", "I want another flight"),
    "bookings": ("show my bookings", "which bookings do I have?", "list the bookings", "what bookings are there"),
    "repeat": ("can you repeat that", "repeat it, please", "I did not get it, repeat", "would you repeat the question"),
}
CITIES = ("Basel", "Geneva", "Lisbon", "Bern", "Lugano", "Chur", "Thun", "Vienna", "Graz", "Porto", "Madrid", "Oslo")
OPENINGS = (
    "Hi, {name} here, ",
    "This is {name}: ",
    "Good morning from {name}, ",
    "{name} speaking, ",
    "",
    "Well, ",
    "Listen, ",
)
ENDINGS = (
    ", as {name} said",
    ", for the wedding of {name}",
    "; ask {name} if need be",
    ", since {name} is ill",
    ", with {name}",
    ", {name} would like that",
    ", or {name} will be sad",
    ", thank you",
    ", before {name} calls",
    "",
)
SYLLABLES = tuple(a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il", "os", "und"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=10_000, help="How many tests there are (10000).")
    parser.add_argument("--rephrases", type=int, default=10, help="Rephrasings asked for, per message (10).")
    parser.add_argument("--sizes", type=int, nargs="+", help="Several numbers of tests, one after the other.")
    parser.add_argument("--concurrency", type=int, default=32, help="Calls of the LLM at a time (32).")
    parser.add_argument("--folder", type=Path, help="Where the data goes (a temporary folder, which is removed).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    parser.add_argument("--child", choices=[*STAGES, "llm"], help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child == "llm":
        serve(ScriptedLLM(Rules()), "127.0.0.1", 0, lambda url: print(url, flush=True))
        return 0
    if args.child:
        run_stage(args.child, args)
        return 0
    with tempfile.TemporaryDirectory(dir=args.folder) as folder, llm() as url:
        runs = [measure(Path(folder), tests, url, args) for tests in args.sizes or [args.tests]]
    figures = {"rephrases": args.rephrases, "runs": runs, "growth": growth(runs)}
    show(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


class Rules(Script):
    """A script without a file: what a message says is told by its words, and other wordings are drawn by lot.

    About one wording in ten is answered with other commands, and one in twenty that names a city names another one.
    """

    def __init__(self) -> None:
        super().__init__(AnswersFile(answers=()), "rules")

    def find(self, message: str, said: str = "") -> Answer | None:
        kind, city = told(message)
        odd = random.Random(message).random() < 0.1
        return _answer("ChitChat()" if odd else COMMANDS[kind].format(city=city))

    def paraphrases(self, message: str) -> tuple[str, ...]:
        kind, city = told(message)
        dice = random.Random(message)
        return tuple(worded(kind, dice.choice(CITIES) if dice.random() < 0.05 else city, dice) for _ in range(50))


@lru_cache(maxsize=1000)
def _answer(command: str) -> Answer:
    return Answer(user="-", commands=read(command, "v1"))


def told(message: str) -> tuple[str, str]:
    """The kind of a message, and the city that it names, if any."""
    city = re.search("|".join(CITIES), message)
    if city:
        return "city", city[0]
    return next(kind for kind in WORDS if re.search(rf"\b{kind}\b", message)), ""


def worded(kind: str, city: str, dice: random.Random) -> str:
    """One of many ways to say a message of a kind."""
    text = dice.choice(OPENINGS) + dice.choice(WORDS[kind]) + dice.choice(ENDINGS)
    return re.sub(r"\{name\}", lambda _: _name(dice), text.replace("{city}", city))


def _name(dice: random.Random) -> str:
    first, last = ("".join(dice.choices(SYLLABLES, k=dice.choice((2, 3)))).capitalize() for _ in range(2))
    return f"{first} {last}"


@contextmanager
def llm() -> Iterator[str]:
    """The address of the scripted LLM, which runs in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--child", "llm"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def make_annotations(folder: Path, tests: int) -> None:
    """Write annotations of so many tests, as `annotate` would have recorded them."""
    shapes = [(recorded(file, name), kinds) for file, name, kinds in SHAPES]
    card = read_card(RECORDED)
    folder.mkdir(parents=True)
    for name in (ASSISTANT_CARD, FLOW_MAP):
        shutil.copy(RECORDED / name, folder)
    for start in range(0, tests, TESTS_OF_A_FILE):
        name = f"group_{start // TESTS_OF_A_FILE // 50:02}/tests_{start // TESTS_OF_A_FILE:05}.yml"
        numbers = range(start, min(start + TESTS_OF_A_FILE, tests))
        made = tuple(conversation(*shapes[number % len(shapes)], name, number) for number in numbers)
        if start == 0:
            check(made[: len(shapes)], card.templates)
        write_record(record_path(folder, name), AnnotatedFile(source=TestFile(file=name), conversations=made))


def recorded(file: str, name: str) -> Conversation:
    found = AnnotatedFile.model_validate_json(record_path(RECORDED, file).read_bytes())
    return next(entry for entry in found.conversations if entry.name == name)


def conversation(like: Conversation, kinds: tuple[str, ...], file: str, number: int) -> Conversation:
    """The recorded conversation with another city and other messages, wherever they stand in it."""
    dice = random.Random(number)
    city = dice.choice(CITIES)
    text = like.model_dump_json()
    places = {json.dumps(turn.message, ensure_ascii=False)[1:-1]: f"<<{at}>>" for at, turn in enumerate(like.turns)}
    for message, place in places.items():
        text = text.replace(message, place)
    text = text.replace("Basel", city)
    for at, kind in enumerate(kinds):
        text = text.replace(f"<<{at}>>", json.dumps(worded(kind, city, dice), ensure_ascii=False)[1:-1])
    made = Conversation.model_validate_json(text)
    name = f"test {number:06}: {' and '.join(kinds)}"
    case = {**made.test_case, "test_case": name}
    return made.model_copy(update={"id": f"{file}::{name}", "file": file, "name": name, "test_case": case})


def check(made: tuple[Conversation, ...], templates: dict[str, str]) -> None:
    """See that the made-up recordings are as consistent as real ones: each prompt is what its variables give."""
    for entry in made:
        messages = [turn.message for turn in entry.turns]
        for _, turn in entry.annotated:
            assert turn.annotation is not None
            assert (
                render(templates[turn.annotation.template], turn.annotation.variables, messages)
                == turn.annotation.prompt
            )


def measure(folder: Path, tests: int, url: str, args: argparse.Namespace) -> dict[str, Any]:
    """Make up annotations of so many tests, and run all stages on them."""
    place = folder / str(tests)
    start = time.perf_counter()
    make_annotations(place / "annotations", tests)
    print(f"{tests:,} tests made up in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    stages = []
    for stage in STAGES:
        command = [sys.executable, __file__, "--child", stage, "--url", url, "--tests", str(tests)]
        command += ["--rephrases", str(args.rephrases), "--concurrency", str(args.concurrency)]
        done = subprocess.run(command, cwd=place, check=True, stdout=subprocess.PIPE, text=True)
        stages.append({"stage": stage, **json.loads(done.stdout.splitlines()[-1])})
        print(f"{tests:,} tests, {stage}: {stages[-1]['seconds']} s", file=sys.stderr, flush=True)
    size = sum(path.stat().st_size for path in (place / "output").rglob("*") if path.is_file())
    summary = json.loads((place / "output/3_llm_finetune_data/summary.json").read_text())
    shutil.rmtree(place)
    return {"tests": tests, "examples": summary["examples"], "output_mib": size >> 20, "stages": stages}


def run_stage(stage: str, args: argparse.Namespace) -> None:
    """Run a stage in this process, and print its figures as the last line."""
    sampler = Sampler(args.tests)
    running: dict[str, Callable[[], object]] = {
        "annotate": lambda: api.annotate(annotations="annotations"),
        "rephrase": lambda: api.rephrase(
            num_rephrases=args.rephrases, llm_api_base=args.url, concurrency=args.concurrency, progress=sampler
        ),
        "dataset": lambda: api.dataset(progress=sampler),
        "split": lambda: api.split(progress=sampler),
        "check-data": lambda: api.check_data(progress=sampler),
        "prepare-data": lambda: api.prepare_data(
            annotations="annotations",
            num_rephrases=args.rephrases,
            llm_api_base=args.url,
            concurrency=args.concurrency,
            progress=sampler,
        ),
    }
    before, start, busy = memory("VmRSS"), time.perf_counter(), time.process_time()
    running[stage]()
    seconds, cpu = round(time.perf_counter() - start, 1), round(time.process_time() - busy, 1)
    peak = max([memory("VmHWM"), *(part["peak_mib"] for part in sampler.parts)])
    told = {"seconds": seconds, "cpu_seconds": cpu, "before_mib": before, "peak_mib": peak, "parts": sampler.parts}
    print(json.dumps(told))


class Sampler(Progress):
    """Notes CPU seconds and the peak of memory for each part of about 1,000 tests, ten parts of fewer.

    What is done in a few steps, which are not those of tests, is not parted.
    """

    def __init__(self, tests: int) -> None:
        self.parts: list[dict[str, Any]] = []
        self._tests = tests
        self._part = 1000 if tests >= 5000 else max(tests // 10, 1)
        self._what = ""
        self._total = self._done = self._told = 0
        self._time = time.process_time()

    def start(self, what: str, total: int) -> None:
        self._what, self._total, self._done, self._told = what, total, 0, 0
        self._time = time.process_time()

    def step(self, parts: int = 1) -> None:
        self._done += parts
        if self._total < FEWEST_STEPS:
            return
        tests = self._done * self._tests // max(self._total, 1)
        if tests - self._told >= self._part or (self._done == self._total and tests > self._told):
            now = time.process_time()
            share = 1000 / (tests - self._told)
            seconds = round((now - self._time) * share, 2)
            peak = memory("VmHWM")
            self.parts.append({"what": self._what, "tests": tests, "cpu_s_per_1000": seconds, "peak_mib": peak})
            self._told, self._time = tests, now
            forget_peak()


def memory(name: str) -> float:
    """`VmRSS` or `VmHWM`, the peak of it, of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{name}:\s*(\d+) kB$", status, re.MULTILINE)
    return round(int(found[1]) / 1024, 1) if found else 0.0


def forget_peak() -> None:
    """Let the peak begin anew from the present memory; where the system does not allow it, it goes on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def growth(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By how much memory and time grow, for each stage of each run, and from the smallest to the biggest run."""
    found = []
    for run in runs:
        for stage in run["stages"]:
            phases = defaultdict(list)
            for part in stage["parts"]:
                phases[part["what"]].append(part)
            for what, parts in phases.items():
                if len(parts) >= 5:
                    found.append({"tests": run["tests"], "stage": stage["stage"], "what": what, **_within(parts)})
    if len(runs) > 1:
        least, most = min(runs, key=lambda run: run["tests"]), max(runs, key=lambda run: run["tests"])
        span = (most["tests"] - least["tests"]) / 1000
        for small, big in zip(least["stages"], most["stages"], strict=True):
            slope = round((big["peak_mib"] - small["peak_mib"]) / span, 2)
            ratio = round(big["cpu_seconds"] / most["tests"] / max(small["cpu_seconds"] / least["tests"], 1e-9), 2)
            between = f"{least['tests']:,} to {most['tests']:,}"
            found.append({"tests": between, "stage": small["stage"], "what": "whole stage", **_verdict(slope, ratio)})
    return found


def _within(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The slope of the peaks, but for the first part, in which caches fill; the time of the last third by the first."""
    points = [(part["tests"] / 1000, part["peak_mib"]) for part in parts[1:]]
    middle = [sum(values) / len(points) for values in zip(*points, strict=True)]
    spread = sum((x - middle[0]) ** 2 for x, _ in points)
    slope = sum((x - middle[0]) * (y - middle[1]) for x, y in points) / spread
    third = max(len(parts) // 3, 1)
    first, last = (sum(part["cpu_s_per_1000"] for part in of) for of in (parts[:third], parts[-third:]))
    return _verdict(round(slope, 2), round(last / first, 2) if first else 1.0)


def _verdict(slope: float, ratio: float) -> dict[str, Any]:
    return {
        "mib_per_1000": slope,
        "memory_flat": slope <= MIB_PER_THOUSAND,
        "time_last_by_first": ratio,
        "time_flat": ratio <= TIME_RATIO,
    }


def show(figures: dict[str, Any]) -> None:
    console = Console()
    for run in figures["runs"]:
        title = f"{run['tests']:,} tests, {run['examples']:,} examples, {run['output_mib']:,} MiB"
        table = Table(title=title)
        for name in ("stage", "what", "tests", "CPU s per 1,000 tests", "peak MiB"):
            table.add_column(name, justify="left" if name in ("stage", "what") else "right")
        for stage in run["stages"]:
            for part in stage["parts"]:
                cells = (f"{part['tests']:,}", f"{part['cpu_s_per_1000']:.2f}", f"{part['peak_mib']:.0f}")
                table.add_row("", part["what"], *cells)
            rate = f"{stage['cpu_seconds'] / run['tests'] * 1000:.2f}"
            table.add_row(stage["stage"], f"all of it: {stage['seconds']} s", "", rate, f"{stage['peak_mib']:.0f}")
            table.add_section()
        console.print(table)
    table = Table(title="From one thousand tests to the next")
    for name in ("tests", "stage", "what", "MiB more per 1,000", "flat", "time, last : first", "flat "):
        table.add_column(name, justify="left" if name in ("stage", "what") else "right")
    for row in figures["growth"]:
        told = ["yes" if row[name] else "NO" for name in ("memory_flat", "time_flat")]
        cells = (f"{row['mib_per_1000']:.2f}", told[0], f"{row['time_last_by_first']:.2f}", told[1])
        table.add_row(str(row["tests"]), row["stage"], row["what"], *cells)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
