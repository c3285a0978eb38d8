from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from rasa_ft_ext.errors import TrainingError  # noqa: E402
from rasa_ft_ext.train import outputs  # noqa: E402
from rasa_ft_ext.train.base import BASE_FILE, BaseRecord, check_adapter, describe_base, load_base  # noqa: E402
from rasa_ft_ext.train.outputs import merged_model, save_4bit, save_adapter, save_merged  # noqa: E402
from rasa_ft_ext.workspace import read_record  # noqa: E402
from tests.train.builders import END, PAD, examples, settings_for, tokenizer_of, trained, write_base  # noqa: E402


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


def save(model: Any, base: Path, folder: Path, dtype: Any = torch.float32) -> Path:
    save_merged(model, tokenizer_of(base), folder, dtype=dtype, end=(END,), pad=PAD)
    return folder


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


def logits(model: Any) -> Any:
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([examples(1)[0].ids])).logits.float()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"method": "full", "learning_rate": 1e-3},
        {"method": "qlora", "quantization_bits": 4},
        {"target_modules": ("q_proj", "v_proj")},
    ],
    ids=["lora", "full", "qlora", "two modules"],
)
def test_the_merged_folder_is_a_plain_model_that_says_the_same(
    base: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    model = trained(base, **given)
    before = logits(model)
    merged = load(save(model, base, tmp_path / "merged"))
    assert type(merged).__name__ == "LlamaForCausalLM"
    assert (logits(merged) - before).abs().max() < 1e-4
    assert (logits(merged) - logits(load(base))).abs().max() > 0.1
    assert torch.equal(logits(model), before)
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert "quantization_config" not in config
    assert not list((tmp_path / "merged").glob("adapter*"))


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_stay_tied_and_are_saved_once(tmp_path: Path, tied: bool) -> None:
    from safetensors import safe_open

    base = write_base(tmp_path / "base", tie_word_embeddings=tied)
    model = trained(base)
    merged = load(save(model, base, tmp_path / "merged"))
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == tied
    with safe_open(tmp_path / "merged" / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) != tied  # noqa: SIM118
    assert (logits(merged) - logits(model)).abs().max() < 1e-4


def test_biases_of_the_base_are_kept(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", attention_bias=True, mlp_bias=True)
    model = load_base(settings_for(base), device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "lora_B" in name:
                parameter.normal_(std=0.1)
    assert (logits(load(save(model, base, tmp_path / "merged"))) - logits(model)).abs().max() < 1e-4


def test_the_merged_model_is_saved_in_the_dtype_that_is_asked_for(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save(trained(base), base, tmp_path / "merged", torch.bfloat16)
    saved = load_file(tmp_path / "merged" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_tokenizer_with_its_chat_template_is_beside_it(base: Path, tmp_path: Path) -> None:
    folder = save(trained(base), base, tmp_path / "merged")
    tokenizer = tokenizer_of(folder)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "w5"}], tokenize=False) == "w5<end>"
    assert (folder / "chat_template.jinja").is_file()


def test_answers_are_greedy_and_end_with_the_learned_token(base: Path, tmp_path: Path) -> None:
    folder = save(trained(base), base, tmp_path / "merged")
    config = json.loads((folder / "generation_config.json").read_text())
    assert config["eos_token_id"] == [END, 3]
    assert config["pad_token_id"] == PAD
    assert not config.get("do_sample")
    assert "temperature" not in config


def test_an_adapter_is_saved_with_its_tokenizer_and_its_base(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    model = trained(base)
    settings = settings_for(base)
    save_adapter(model, tokenizer_of(base), tmp_path / "adapter", describe_base(settings))
    check_adapter(tmp_path / "adapter", settings)
    assert read_record(tmp_path / "adapter" / BASE_FILE, BaseRecord) == describe_base(settings)
    assert tokenizer_of(tmp_path / "adapter").chat_template
    again = PeftModel.from_pretrained(load(base), tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))
    assert not (tmp_path / "adapter" / "README.md").exists()


def test_a_model_in_4_bit_is_a_fraction_of_the_size_and_loads(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    base = write_base(tmp_path / "base", hidden_size=64, intermediate_size=128)  # less is no whole block
    folder = save(trained(base), base, tmp_path / "merged")
    save_4bit(folder, tmp_path / "merged_4bit", device="cpu")
    small = load(tmp_path / "merged_4bit")
    layer = small.model.layers[0].mlp.up_proj
    assert type(layer).__name__ == "Linear4bit"
    assert layer.weight.numel() == layer.in_features * layer.out_features / 2
    assert logits(small).isfinite().all()
    assert (tmp_path / "merged_4bit" / "chat_template.jinja").is_file()
    ends = json.loads((tmp_path / "merged_4bit" / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [END, 3]


def test_weights_that_do_not_make_up_a_model_are_an_error(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = outputs._merged_weights

    def without_one(trained: Any, dtype: Any) -> dict[str, Any]:
        return {name: value for name, value in weights(trained, dtype).items() if "norm" not in name}

    monkeypatch.setattr(outputs, "_merged_weights", without_one)
    with pytest.raises(TrainingError, match=r"cannot be merged(.|\n)*norm"):
        merged_model(trained(base), torch.float32)
