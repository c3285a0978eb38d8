"""`--llm-mode batch` through the command line: the same data as call by call, also where the run is stopped."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from rasa_ft_ext.annotate.recorded import copy_annotations
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.errors import LLMUnavailableError
from rasa_ft_ext.llm import opening
from rasa_ft_ext.llm.batch.batches import Batches
from rasa_ft_ext.llm.batch.client import BatchClient
from rasa_ft_ext.llm.batch.pace import Pace
from rasa_ft_ext.llm.faults import Fault
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from rasa_ft_ext.workspace import REPHRASINGS, TIMINGS, Workspace

EXAMPLE = Path(__file__).parents[2] / "assistant_example"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    for name in ("assistant.json", "cars/corrections.yml.json", "cars/cancellation.yml.json"):
        (tmp_path / "recorded" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLE / "annotations" / name, tmp_path / "recorded" / name)
    return tmp_path / "recorded"


def rephrase(llm: Running, recorded: Path, out: str, *more: str) -> int:
    copy_annotations(Workspace(recorded.parent / out), recorded)
    place = ("--project", str(recorded.parent), "--out", out, "--yes")
    return main(["rephrase", *place, "--llm-api-base", llm.base_url, "--num-rephrases", "2", *more])


def written(recorded: Path, out: str) -> dict[str, bytes]:
    folder = recorded.parent / out
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.joinpath(REPHRASINGS).rglob("*"))
        if path.is_file() and path.name != TIMINGS
    }


def test_a_run_in_batches_that_ends_each_time_it_waits_makes_the_same_data(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opening, "Batches", partial(Batches, pace=Pace(settle=0.1, look=0.01)))
    look, looked = BatchClient.look, set()

    async def end_once(client: BatchClient, batch: str) -> object:
        if batch not in looked:
            looked.add(batch)
            raise Fault("fatal", LLMUnavailableError("The server is gone."))
        return await look(client, batch)

    monkeypatch.setattr(BatchClient, "look", end_once)
    with scripted_llm(EXAMPLE / "answers.yml") as llm:
        assert rephrase(llm, recorded, "calls") == 0
        calls = llm.stats()["calls"]
        ends = []
        while not ends or ends[-1] != 0:
            ends.append(rephrase(llm, recorded, "batch", "--llm-mode", "batch"))
        assert ends == [1, 1, 0]
        assert "the same command takes it up again" in capsys.readouterr().err
        assert (llm.stats()["calls"], llm.stats()["batches"]) == (2 * calls, 2)
    assert written(recorded, "batch") == written(recorded, "calls") != {}


def test_a_provider_without_batches_is_refused_before_the_first_call(
    recorded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    (recorded.parent / "rephrase.yml").write_text("llm: {provider: anthropic, model: claude-sonnet-4-5}\n")
    with scripted_llm(EXAMPLE / "answers.yml") as llm:
        assert rephrase(llm, recorded, "out", "--llm-mode", "batch", "--rephrase-config", "rephrase.yml") == 1
        assert llm.stats()["calls"] == 0
    assert "the provider anthropic has no batches" in capsys.readouterr().err
