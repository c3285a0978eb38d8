"""`rasa-ft serve`: what is served how, and what is said about it; that it is stopped is shown with the servers."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from rasa_ft_ext.cli.main import build_parser, main
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.finetuned import read_manifest
from rasa_ft_ext.model_server.base import ModelServer
from rasa_ft_ext.model_server.settings import vllm_arguments
from rasa_ft_ext.serve.model import Found
from rasa_ft_ext.serve.stage import make_server, open_doors, read_api_key, settings_of
from tests.model_server.fake_vllm import install
from tests.serve.test_serve_model import write_training

FOUND = Found("models/tuned", "tuned", dtype="bfloat16", max_model_len=1792)


def test_what_is_not_given_comes_from_the_model() -> None:
    settings = settings_of(FOUND)
    assert (settings.name, settings.dtype, settings.max_model_len, settings.host) == (
        "tuned",
        "bfloat16",
        1792,
        "127.0.0.1",
    )
    settings = settings_of(FOUND, name="other", dtype="float32", max_model_len=512)
    assert (settings.name, settings.dtype, settings.max_model_len) == ("other", "float32", 512)
    assert settings_of(Found("some/model", "model")).dtype == "auto"


def test_an_adapter_brings_its_tokenizer_and_the_end_of_its_answers() -> None:
    found = Found("b", "tuned", revision="r", lora="a", lora_rank=8, tokenizer="a", generation_config="m")
    arguments = " ".join(vllm_arguments(settings_of(found)))
    for words in (
        "--revision r",
        "--tokenizer a",
        "--generation-config m",
        "--lora-modules tuned=a",
        "--max-lora-rank 8",
    ):
        assert words in arguments


@pytest.mark.parametrize(("rank", "room"), [(None, 16), (1, 1), (4, 8), (24, 32), (512, 512)])
def test_vllm_is_told_a_rank_that_it_takes(rank: int | None, room: int) -> None:
    arguments = vllm_arguments(settings_of(Found("b", "tuned", lora="a", lora_rank=rank)))
    assert arguments[arguments.index("--max-lora-rank") + 1] == str(room)


def test_what_serve_itself_must_know_is_no_argument_for_vllm_alone() -> None:
    with pytest.raises(ConfigError) as error:
        settings_of(FOUND, extra=["--port", "9", "--api_key=sesame", "--host=::", "-tp", "2"])
    assert len(error.value.problems) == 3
    assert "sesame" not in str(error.value)


def test_a_vllm_is_of_no_use_to_another_engine() -> None:
    with pytest.raises(ConfigError, match="no use"):
        make_server(settings_of(FOUND), engine="transformers", vllm="python")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--write docker deploy --engine transformers --timeout 5", ["--engine", "--timeout"]),
        ("--write docker deploy --vllm python --api-key-env KEY", ["--vllm", "--api-key-env"]),
        ("--no-key --image a:1 --variant cpu --force", ["--no-key", "--image", "--variant", "--force"]),
    ],
)
def test_flags_that_would_do_nothing_are_refused(
    tmp_path: Path, flags: str, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "some/model", "--project", str(tmp_path), *flags.split()]) == 1
    told = capsys.readouterr().err
    assert all(f"- {flag}: " in told for flag in said)
    assert told.count("\n  - ") == len(said)
    assert not list(tmp_path.iterdir())


def test_an_adapter_flag_never_takes_the_model_for_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--lora", "finetuned_model"])
    assert "MODEL" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["serve", "finetuned_model", "--lora"])
    assert "--lora: expected one argument" in capsys.readouterr().err


@pytest.mark.parametrize(("project", "model"), [(".", "tuned/merged"), (".", "tuned"), ("..", "here/tuned/merged")])
def test_the_command_that_is_told_evaluates_the_training(
    tmp_path: Path, project: str, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    write_training(tmp_path / "here" / "tuned")
    monkeypatch.chdir(tmp_path / "here")
    python = install(tmp_path / "env")

    def announced(server: ModelServer, announce: Callable[[ModelServer], None]) -> None:
        announce(server)

    monkeypatch.setattr("rasa_ft_ext.serve.stage.run_until_stopped", announced)
    assert main(["serve", model, "--project", project, "--vllm", str(python)]) == 0
    told = shlex.split(capsys.readouterr().err.splitlines()[-1])
    args = build_parser().parse_args(told[1:])
    assert args.command == "evaluate"
    assert read_manifest(Path(args.project, args.model_folder)).facts.name == args.model


@pytest.mark.parametrize(
    ("host", "key", "warned"),
    [
        ("127.0.0.1", None, False),
        ("localhost", None, False),
        ("::1", None, False),
        ("0.0.0.0", None, True),
        ("10.0.0.7", None, True),
        ("0.0.0.0", "key", False),
    ],
)
def test_an_open_door_is_warned_of(host: str, key: str | None, warned: bool) -> None:
    assert bool(open_doors(settings_of(FOUND, host=host, api_key=key))) == warned


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_api_key(None) is None
    monkeypatch.setenv("VLLM_API_KEY", "usual")
    monkeypatch.setenv("MY_KEY", "mine")
    assert (read_api_key(None), read_api_key("MY_KEY")) == ("usual", "mine")
    with pytest.raises(ConfigError, match="OTHER_KEY is not set"):
        read_api_key("OTHER_KEY")


def test_a_models_mistakes_are_told_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    assert main(["serve", "model", "--project", str(tmp_path), "--vllm", "/nothing"]) == 1
    told = capsys.readouterr()
    assert "no config.json" in told.err
    assert told.out == ""
