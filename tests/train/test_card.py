from __future__ import annotations

import hashlib
from pathlib import Path

from ruamel.yaml import YAML

from rasa_ft_ext.finetuned import TrainFacts, TrainManifest, write_manifest
from rasa_ft_ext.train.card import model_card
from rasa_ft_ext.workspace import read_record

FACTS = TrainFacts(
    name="car-commands",
    base_model="meta-llama/Llama-3.1-8B-Instruct",
    base_revision="0e9e39f",
    base_fingerprint="ab" * 32,
    base_license="llama3.1",
    data_hash="cd" * 32,
    train_rows=724,
    validation_rows=181,
    templates={"command_prompt_v2": "ef" * 32},
    rasa_version="3.21.0",
    syntax="v2",
    language="en",
    settings={"base_model": "meta-llama/Llama-3.1-8B-Instruct", "method": "lora", "epochs": 3.0},
    metrics={
        "exact_match": 0.9337,
        "loss": 0.0123,
        "slot_value_accuracy": None,
        "by_command": {"SetSlot": {"precision": 0.9, "recall": None, "f1": 0.9, "support": 12}},
    },
    parity={"examples": 181, "max_logit_difference": 0.0000036, "answers_that_differ": 0},
    dtype="bfloat16",
    max_length=4096,
    packages={"torch": "2.13.0", "peft": "0.21.0"},
)


def front_matter(card: str) -> dict[str, object]:
    _, yaml, _ = card.split("---\n", 2)
    found: dict[str, object] = YAML(typ="safe").load(yaml)
    return found


def test_the_hub_is_told_what_it_shows() -> None:
    assert front_matter(model_card(FACTS)) == {
        "base_model": "meta-llama/Llama-3.1-8B-Instruct",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "llama3.1",
        "language": "en",
        "tags": ["rasa", "calm", "command-generation", "rasa-ft-ext"],
    }


def test_what_is_not_known_and_folders_are_not_told_to_the_hub() -> None:
    facts = FACTS.model_copy(update={"base_model": "/models/llama", "base_license": None, "language": None})
    assert front_matter(model_card(facts)).keys() == {"library_name", "pipeline_tag", "tags"}


def test_a_card_says_what_the_model_was_made_from_and_what_it_is_worth() -> None:
    card = model_card(FACTS)
    for text in (
        "ef" * 32,
        "cd" * 32,
        "ab" * 32,
        "| examples to train with | 724 |",
        "| command accuracy: answers with just the expected commands | 93.4% |",
        "| loss | 0.0123 |",
        "| slots with the expected value | - |",
        "| SetSlot | 90.0% | - | 90.0% | 12 |",
        "181 examples: the logits differ by at most 3.6e-06, and 0 answers differ",
        "Rasa Pro | 3.21.0",
        "epochs: 3.0",
        "peft 0.21.0, torch 2.13.0",
        "License: llama3.1",
    ):
        assert text in card


def test_a_card_says_how_to_serve() -> None:
    options = "--served-model-name car-commands --dtype bfloat16 --max-model-len 4096 --enable-prefix-caching"
    assert f"    vllm serve . {options}" in model_card(FACTS).splitlines()


def test_without_validation_a_card_does_not_pretend() -> None:
    card = model_card(FACTS.model_copy(update={"metrics": {}, "parity": {}}))
    assert "nothing is known of its accuracy" in card
    assert "%" not in card


def test_same_facts_same_card() -> None:
    again = FACTS.model_copy(update={"packages": {"peft": "0.21.0", "torch": "2.13.0"}})
    assert model_card(again) == model_card(FACTS)


def test_a_bar_does_not_break_a_table() -> None:
    card = model_card(FACTS.model_copy(update={"templates": {"a|b": ""}}))
    assert r"| prompt template a\|b | `not kept` |" in card


def test_a_manifest_names_the_bytes_of_every_file_of_the_model(tmp_path: Path) -> None:
    for name in (
        "merged/model.safetensors",
        "adapter/adapter.safetensors",
        "checkpoints/1/x",
        "tensorboard/e",
        "a.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    written = write_manifest(tmp_path, FACTS)
    assert read_record(tmp_path / "manifest.json", TrainManifest) == written
    assert [*written.files] == ["a.png", "adapter/adapter.safetensors", "merged/model.safetensors"]
    assert written.files["a.png"] == hashlib.sha256(b"a.png").hexdigest()
    assert written.facts == FACTS
