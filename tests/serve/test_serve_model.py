"""What can be served, and what is known of it before a server starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.finetuned import TrainFacts, write_manifest
from rasa_ft_ext.serve.model import find_model


def write_model(folder: Path, *, without: str = "", **config: Any) -> Path:
    """A folder that looks like a model."""
    folder.mkdir(parents=True)
    files = {
        "config.json": {"dtype": "bfloat16", "max_position_embeddings": 4096, **config},
        "model.safetensors": {},
        "tokenizer.json": {},
        "tokenizer_config.json": {},
        "chat_template.jinja": "{{ messages }}",
        "generation_config.json": {"eos_token_id": [2]},
    }
    for name, content in files.items():
        if name != without:
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_adapter(folder: Path, *, tokenizer: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"r": 16, "base_model_name_or_path": "base"}', encoding="utf-8")
    (folder / "adapter_model.safetensors").touch()
    if tokenizer:
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
        (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    return folder


def write_training(folder: Path, *, adapter: bool = True, **facts: Any) -> Path:
    """A folder as `train` leaves it."""
    write_model(folder / "merged")
    if adapter:
        write_adapter(folder / "adapter")
    known = {"name": "my-assistant", "base_model": "base", "longest_prompt": 700, "longest_answer": 40, **facts}
    write_manifest(folder, TrainFacts(data_hash="d", train_rows=8, validation_rows=2, **known))
    return folder


def test_a_training_is_served_by_its_merged_model(tmp_path: Path) -> None:
    training = write_training(tmp_path / "finetuned_model")
    found = find_model("finetuned_model", project=tmp_path)
    assert (found.model, found.name, found.dtype) == (str(training / "merged"), "my-assistant", "bfloat16")
    assert found.lora is None
    assert found.model_hash is not None
    assert found.notes == ()


def test_the_merged_folder_of_a_training_is_known_for_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_training(tmp_path / "finetuned_model")
    monkeypatch.chdir(tmp_path / "finetuned_model")
    assert find_model("merged").name == "my-assistant"
    assert find_model("merged").training == tmp_path / "finetuned_model"
    assert find_model("merged").max_model_len == find_model("../finetuned_model").max_model_len


@pytest.mark.parametrize(
    ("prompt", "answer", "length"), [(700, 40, 1792), (700, 200, 1792 + 256), (3000, 40, 4096), (None, None, None)]
)
def test_the_length_is_twice_what_the_data_needs(
    tmp_path: Path, prompt: int | None, answer: int | None, length: int | None
) -> None:
    training = write_training(tmp_path / "tuned", longest_prompt=prompt, longest_answer=answer)
    assert find_model(str(training)).max_model_len == length


def test_a_file_that_was_changed_since_the_training_is_noted(tmp_path: Path) -> None:
    training = write_training(tmp_path / "tuned")
    (training / "merged" / "model.safetensors").write_text("others")
    (training / "adapter" / "tokenizer.json").write_text("others")
    (note,) = find_model(str(training)).notes
    assert "merged/model.safetensors" in note
    assert "adapter" not in note


def test_the_folder_that_one_is_in_is_known_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find_model(str(write_training(tmp_path / "tuned")))
    (tmp_path / "tuned" / "merged" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "tuned" / "merged")
    found = find_model(".")
    assert found.model_hash == whole.model_hash
    assert "merged/config.json" in found.notes[0]


def test_the_adapter_of_a_training_is_served_on_its_base(tmp_path: Path) -> None:
    base, training = write_model(tmp_path / "base", dtype="float32"), write_training(tmp_path / "tuned")
    found = find_model("tuned/adapter", project=tmp_path)
    assert (found.model, found.name, found.lora) == (str(base), "my-assistant", str(training / "adapter"))
    assert (found.lora_rank, found.dtype, found.max_model_len) == (16, "float32", 1792)
    assert found.tokenizer == str(training / "adapter")
    assert found.generation_config == str(training / "merged")


def test_a_base_on_the_hub_keeps_its_revision(tmp_path: Path) -> None:
    training = write_training(tmp_path / "tuned", base_model="some/base", base_revision="abc", dtype="bfloat16")
    found = find_model(str(training / "adapter"))
    assert (found.model, found.revision, found.dtype) == ("some/base", "abc", "bfloat16")


def test_a_given_adapter_is_served_on_a_given_model(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    write_adapter(tmp_path / "mine", tokenizer=False)
    found = find_model("base", lora="mine", project=tmp_path)
    assert (found.model, found.name, found.lora_rank) == (str(base), "mine", 16)
    assert found.tokenizer is None
    assert find_model("some/base", lora="mine", project=tmp_path).model == "some/base"


def test_of_a_model_on_the_hub_only_the_name_is_known() -> None:
    found = find_model("some-org/Some-Model-8B")
    assert (found.model, found.name) == ("some-org/Some-Model-8B", "Some-Model-8B")
    assert (found.dtype, found.max_model_len, found.model_hash) == (None, None, None)


def test_any_models_folder_is_served_under_its_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "some-model", dtype=None, torch_dtype="float16")
    found = find_model(str(folder))
    assert (found.name, found.dtype, found.max_model_len) == ("some-model", "float16", None)


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer"),
        ("chat_template.jinja", "no chat template"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(tmp_path: Path, without: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_model(str(write_model(tmp_path / "model", without=without)))


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", without="tokenizer.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError) as error:
        find_model(str(folder))
    assert len(error.value.problems) == 2


def test_a_template_in_the_tokenizers_file_counts(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", without="chat_template.jinja")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert find_model(str(folder)).name == "model"


def test_an_adapter_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--lora"):
        find_model(str(write_adapter(tmp_path / "adapter")))


@pytest.mark.parametrize(
    ("name", "lora", "said"),
    [
        ("nothing", None, "no such folder"),
        ("nothing/at/all", None, "no such folder"),
        ("some/model", "nothing", "no adapter"),
        ("full", "full/adapter", "give full/adapter alone"),
        ("full/adapter", None, "all weights were trained"),
        ("full/mergde", None, "no such folder in that training"),
        ("homeless/adapter", None, "is not there"),
        ("begun", None, "not finished"),
        ("model/config.json", None, "This is a file"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, name: str, lora: str | None, said: str) -> None:
    write_model(tmp_path / "model")
    write_training(tmp_path / "full", adapter=False)
    write_training(tmp_path / "homeless", base_model="/gone/base")
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match=said):
        find_model(name, lora=lora, project=tmp_path)
