"""`scripts/make_tiny_base.py`: a model from nothing but rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rasa_ft_ext.errors import ConfigError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from scripts.make_tiny_base import make_tiny_base  # noqa: E402

ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_same_rows_and_seed_give_the_same_bytes_and_another_seed_other_weights(
    tiny_base: Path, tiny_rows: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    other = tmp_path / "other"
    make_tiny_base(tiny_rows, again, hidden=64, layers=2, heads=4, vocab=400)
    make_tiny_base(tiny_rows, other, hidden=64, layers=2, heads=4, vocab=400, seed=1)

    assert contents(again) == contents(tiny_base)
    differing = [name for name, content in contents(other).items() if content != contents(again)[name]]
    assert differing == ["model.safetensors"]


def test_the_command_prints_its_figures_last_and_writes_them(tiny_rows: Path, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "make_tiny_base.py", tiny_rows, tmp_path / "base"]
    done = subprocess.run(
        [*command, "--json", tmp_path / "figures.json"], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert json.loads(done.stdout[done.stdout.index("{") :]) == figures
    assert figures["rows"] == 12
    assert 1_000_000 < figures["parameters"] < 5_000_000


@pytest.mark.parametrize(
    "text",
    [
        "start flow rent_car",
        "Ärger über Öl",
        "東京へ行く",
        "🚗 a\u0301",
        "\n\n two\tthree ",
        "  x",
        "\x00\x7f\ufeff",
        "1234,5",
    ],
)
def test_any_text_is_read_back_as_it_was_written(tiny_base: Path, text: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_base)

    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_the_model_loads_generates_and_stops_at_the_end_of_a_turn(tiny_base: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_base)

    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_tensors="pt"
    )
    answer = model.generate(**prompt, max_new_tokens=5)

    assert 50_000 < model.num_parameters() < 150_000
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert answer.shape[1] <= prompt["input_ids"].shape[1] + 5


def test_sizes_that_cannot_be_are_told_together(tiny_rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        make_tiny_base(tiny_rows, tmp_path / "base", hidden=50, heads=4, vocab=100)

    assert len(error.value.problems) == 2
