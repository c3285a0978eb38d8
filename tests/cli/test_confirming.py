"""What a run costs is shown before its first call, and asked about where it is much."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from tests.builders import contents

EXAMPLE = Path(__file__).parents[2] / "assistant_example"
DEAR = ("--price-per-1k", "10:10")
UNLIKE = ("timings.json", "llm_cache.sqlite", "llm_costs.jsonl")  # in one run and another


@pytest.fixture(scope="module")
def llm() -> Iterator[Running]:
    with scripted_llm(EXAMPLE / "answers.yml") as running:
        yield running


@pytest.fixture
def argv(tmp_path: Path, llm: Running) -> list[str]:
    """A command whose calls the example's answers answer."""
    folder = tmp_path / "annotations"
    (folder / "cars").mkdir(parents=True)
    for name in ("assistant.json", "cars/corrections.yml.json"):
        shutil.copy(EXAMPLE / "annotations" / name, folder / name)
    found = ["prepare-data", "--project", str(tmp_path), "--annotations", "annotations", "--num-rephrases", "2"]
    return [*found, "--llm-api-base", llm.base_url]


def out(argv: list[str]) -> Path:
    return Path(argv[2]) / "output"


def test_a_dry_run_shows_the_calls_and_makes_and_writes_nothing(
    argv: list[str], llm: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    before = llm.stats()["calls"]

    assert main([*argv, "--dry-run", *DEAR, "--max-cost", "0"]) == 0

    shown = capsys.readouterr()
    assert "self-hosted/scripted" in shown.out
    assert "checking" in shown.out
    assert "dollars" in shown.out
    assert shown.err == ""
    assert llm.stats()["calls"] == before
    assert not out(argv).exists()


def test_an_unknown_price_is_shown_as_unknown_and_nobody_is_asked(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--confirm-above", "0"]) == 0
    assert "LLM calls are to come. Price: unknown." in capsys.readouterr().err


def test_above_the_limit_a_run_that_nobody_watches_ends_before_the_first_call(
    argv: list[str], llm: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    before = llm.stats()["calls"]

    assert main([*argv, *DEAR]) == 1

    told = capsys.readouterr().err
    assert "--confirm-above" in told
    assert "--yes" in told
    assert llm.stats()["calls"] == before
    assert not out(argv).exists()


@pytest.mark.parametrize("more", [["--yes"], ["--confirm-above", "1e9"]])
def test_who_agrees_beforehand_is_not_asked(argv: list[str], more: list[str]) -> None:
    assert main([*argv, *DEAR, *more]) == 0


def test_a_limit_that_cannot_be_kept_to_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "--max-cost", "1"]) == 1
    assert "the price of self-hosted/scripted is not known" in capsys.readouterr().err
    assert not out(argv).exists()


def test_a_run_that_reaches_its_limit_is_gone_on_with_and_gives_the_same(
    argv: list[str], llm: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, *DEAR, "--yes", "--no-cache"]) == 0
    whole = contents(out(argv), without=UNLIKE)
    shutil.rmtree(out(argv))
    before = llm.stats()["calls"]
    capsys.readouterr()

    assert main([*argv, *DEAR, "--yes", "--max-cost", "60"]) == 1
    stopped = llm.stats()["calls"] - before
    told = capsys.readouterr().err
    assert "goes on from there" in told
    assert f"for {stopped} calls" in told
    assert main([*argv, *DEAR, "--yes"]) == 0

    assert contents(out(argv), without=UNLIKE) == whole
    paid = llm.stats()["calls"] - before
    assert 0 < stopped < paid
    shutil.rmtree(out(argv))
    assert main([*argv, *DEAR, "--yes"]) == 0
    assert llm.stats()["calls"] - before == 2 * paid


def test_what_is_there_costs_nothing(argv: list[str], llm: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "--quiet"]) == 0
    before = llm.stats()["calls"]
    capsys.readouterr()

    assert main([*argv, *DEAR]) == 0
    assert main([*argv, "--dry-run"]) == 0
    assert "No LLM is to be called" in capsys.readouterr().out
    assert main([*argv, *DEAR, "--yes", "--force"]) == 0  # asks, but the answers are kept
    assert llm.stats()["calls"] == before


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_in_a_terminal_a_person_is_asked(
    argv: list[str], llm: Running, answer: bytes, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pty

    ours, theirs = pty.openpty()
    before, shown, calls = llm.stats()["calls"], bytearray(), []

    def person() -> None:
        try:
            while part := os.read(ours, 1000):
                shown.extend(part)
                if b"[y/N]" in shown and not calls:
                    calls.append(llm.stats()["calls"])
                    os.write(ours, answer)
        except OSError:  # Linux says so where nobody has the other end open any more
            return

    thread = threading.Thread(target=person)
    thread.start()
    with open(theirs) as stdin, open(os.dup(theirs), "w") as stderr, monkeypatch.context() as terminal:
        terminal.setattr(sys, "stdin", stdin)
        terminal.setattr(sys, "stderr", stderr)
        assert main([*argv, *DEAR]) == code
    thread.join(60)
    os.close(ours)
    assert calls == [before]
    assert b"LLM calls to come, at most" in shown
    assert (llm.stats()["calls"] > before) == (code == 0)
