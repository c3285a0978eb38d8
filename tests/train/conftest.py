"""A tiny base model, made once: nothing is downloaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rasa_ft_ext.workspace import write_jsonl

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is: more threads only wait for each other with models this small

ROWS = [
    {"prompt": f"The user in {city} says: {text}\nYour commands:", "completion": completion}
    for city in ("Zürich", "Basel", "東京")
    for text, completion in [
        ("I need a car", "start flow rent_car"),
        ("from Malmö to Genève, 12 June", "start flow book_flight\nset slot from Malmö\nset slot to Genève"),
        ("what is that?", "provide info"),
        ("never mind", "cancel flow"),
    ]
]


@pytest.fixture(scope="session")
def tiny_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve short rows."""
    file = tmp_path_factory.mktemp("rows") / "train.jsonl"
    write_jsonl(file, ROWS)
    return file


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, tiny_rows: Path) -> Path:
    """The folder of a model of about 100,000 parameters."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from scripts.make_tiny_base import make_tiny_base

    folder = tmp_path_factory.mktemp("tiny") / "base"
    make_tiny_base(tiny_rows, folder, hidden=64, layers=2, heads=4, vocab=400)
    return folder
