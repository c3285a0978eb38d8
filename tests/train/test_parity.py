from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from rasa_ft_ext.errors import ParityError  # noqa: E402
from rasa_ft_ext.train import parity as module  # noqa: E402
from rasa_ft_ext.train.outputs import save_merged  # noqa: E402
from rasa_ft_ext.train.parity import BF16, FP32, Observed, Parity, compare, observe  # noqa: E402
from tests.train.builders import END, PAD, examples, tokenizer_of, trained, write_base  # noqa: E402


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


def look(model: Any, **given: Any) -> Observed:
    return observe(model, examples(), end=(END,), pad=PAD, longest=8, **{"batch_size": 4, **given})


def save(model: Any, base: Path, folder: Path, dtype: Any) -> Path:
    save_merged(model, tokenizer_of(base), folder, dtype=dtype, end=(END,), pad=PAD)
    return folder


def check(seen: Observed, folder: Path) -> Parity:
    return compare(seen, folder, examples(), device="cpu", batch_size=4)


def corrupt(folder: Path, name: str = "model.layers.1.mlp.down_proj.weight", factor: float = 1.05) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name] * factor
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"method": "qlora", "quantization_bits": 4},
        {"method": "qlora", "quantization_bits": 8},
        {"method": "full"},
    ],
    ids=["lora", "4 bit", "8 bit", "full"],
)
def test_in_fp32_adapter_and_merged_model_say_the_same(base: Path, tmp_path: Path, given: dict[str, Any]) -> None:
    if given.get("method") == "qlora":
        pytest.importorskip("bitsandbytes")
    model = trained(base, **given)
    seen = look(model)
    parity = check(seen, save(model, base, tmp_path / "merged", torch.float32))
    assert parity.max_logit_difference <= 1e-5
    assert parity.answers_that_differ == 0
    assert (parity.examples, parity.allowed) == (6, FP32.largest)


def test_in_bf16_they_differ_by_rounding_only(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", dtype="bfloat16")
    model = trained(base, precision="bf16")
    parity = check(look(model), save(model, base, tmp_path / "merged", torch.bfloat16))
    assert 0 < parity.max_logit_difference <= parity.allowed / 2
    assert parity.mean_logit_difference > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_weight_that_is_wrong_is_an_error(tmp_path: Path, dtype: str) -> None:
    base = write_base(tmp_path / "base", dtype=dtype)
    model = trained(base, precision="bf16" if dtype == "bfloat16" else "fp32")
    folder = save(model, base, tmp_path / "merged", getattr(torch, dtype))
    corrupt(folder, factor=1.001 if dtype == "float32" else 2.0)
    with pytest.raises(ParityError, match=r"logits differ by [\d.e-]+, and [\d.e-]+ is allowed") as caught:
        check(look(model), folder)
    if dtype == "float32":
        assert "val.jsonl line" in str(caught.value)


def test_a_forgotten_adapter_is_an_error_in_bf16_too(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", dtype="bfloat16")
    model = trained(base, precision="bf16")
    with pytest.raises(ParityError, match="logits differ"):
        check(look(model), base)


def test_numbers_that_are_none_are_an_error(base: Path, tmp_path: Path) -> None:
    model = trained(base)
    folder = save(model, base, tmp_path / "merged", torch.float32)
    corrupt(folder, factor=float("nan"))
    with pytest.raises(ParityError, match=r"val.jsonl line 1: logits differ by nan"):
        check(look(model), folder)


def test_another_answer_is_an_error_unless_the_best_tokens_are_close(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(base)
    folder = save(model, base, tmp_path / "merged", torch.float32)
    seen = look(model)
    first = seen.answers[2]
    other = replace(seen, answers=(*seen.answers[:2], (first[0] % 100 + 50, *first[1:]), *seen.answers[3:]))
    with pytest.raises(ParityError, match=r"val.jsonl line 3: the trained model answers with tokens") as caught:
        check(other, folder)
    assert "logits" not in str(caught.value)
    monkeypatch.setattr(module, "_gap", lambda *_: FP32.largest / 2)
    assert check(other, folder).answers_that_differ == 1


def test_batches_do_not_change_what_is_observed(base: Path) -> None:
    model = trained(base)
    together, alone = look(model, batch_size=6), look(model, batch_size=1)
    assert together.answers == alone.answers
    for one, other, example in zip(together.logits, alone.logits, examples(), strict=True):
        assert one.shape == (len(example.ids) - example.prompt_length, 200)
        assert (one - other).abs().max() < 1e-5


def test_the_logits_are_those_that_the_answers_tokens_are_taken_from(base: Path) -> None:
    model = trained(base)
    example = examples()[0]
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([example.ids])).logits[0]
    assert (look(model).logits[0] - logits[example.prompt_length - 1 : -1]).abs().max() < 1e-5


def test_a_model_is_left_as_it_was(base: Path) -> None:
    pytest.importorskip("bitsandbytes")
    model = trained(base, method="qlora", quantization_bits=8)
    own = model.get_base_model().generation_config
    look(model)
    assert model.training
    assert model.get_base_model().generation_config is own
    assert not [layer for layer in model.modules() if "forward" in layer.__dict__]


def test_a_layer_in_8_bit_is_observed_without_rounding_its_inputs(base: Path) -> None:
    pytest.importorskip("bitsandbytes")
    model = trained(base, method="qlora", quantization_bits=8)
    example = examples()[0]
    with torch.no_grad():
        rounded = model.eval()(input_ids=torch.tensor([example.ids])).logits[0, example.prompt_length - 1 : -1]
        exact = model.train()(input_ids=torch.tensor([example.ids])).logits[0, example.prompt_length - 1 : -1]
    seen = look(model).logits[0]
    assert (seen - exact).abs().max() < 1e-4
    assert (seen - rounded).abs().max() > 1e-3


def test_a_model_is_observed_without_dropout(base: Path) -> None:
    model = trained(base, lora_dropout=0.5)
    assert all(torch.equal(one, other) for one, other in zip(look(model).logits, look(model).logits, strict=True))


def test_an_answer_stops_with_its_end_token(base: Path) -> None:
    model = trained(base)
    answers = look(model).answers
    first = answers[0][1]
    stopped = observe(model, examples(), end=(first,), pad=PAD, longest=8).answers[0]
    assert stopped == answers[0][: answers[0].index(first) + 1]
    assert all(len(answer) <= 8 for answer in answers)


def test_tolerances_are_what_the_docs_say() -> None:
    assert FP32 == (1e-4, 1e-4, False)
    assert BF16.relative
