"""`rasa-ft serve`: what is served how, and what is said about it; that it is stopped is shown with the servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.model_server.settings import vllm_arguments
from rasa_ft_ext.serve.model import Found
from rasa_ft_ext.serve.stage import open_doors, read_api_key, settings_of

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
