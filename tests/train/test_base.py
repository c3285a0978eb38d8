from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft.tuners.lora import LoraLayer  # noqa: E402

from rasa_ft_ext.errors import ConfigError, MissingExtraError, RasaFtError, TrainingError  # noqa: E402
from rasa_ft_ext.train import base as module  # noqa: E402
from rasa_ft_ext.train.base import (  # noqa: E402
    BASE_FILE,
    adapter_in_fp32,
    check_adapter,
    check_bitsandbytes,
    compute_dtype,
    describe_base,
    load_base,
    memory_advice,
    pick_device,
    saved_dtype,
    weights_dtype,
)
from rasa_ft_ext.workspace import write_record  # noqa: E402
from tests.train.builders import examples, settings_for, train, trained, write_base  # noqa: E402


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


def adapted(model: object) -> set[str]:
    return {name for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def change_config(source: Path, folder: Path, **changes: object) -> Path:
    shutil.copytree(source, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_a_device_that_is_asked_for_but_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == "cpu"
    with pytest.raises(TrainingError, match=r"device is cuda, but torch sees none here, only cpu.*auto"):
        pick_device("cuda")


def test_the_first_of_cuda_mps_and_cpu_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda"


@pytest.mark.parametrize(
    ("device", "given", "computed", "weights", "saved"),
    [
        ("cpu", {}, "float32", "float32", "float32"),
        ("cpu", {"precision": "bf16"}, "bfloat16", "bfloat16", "bfloat16"),
        ("cuda", {}, "bfloat16", "bfloat16", "bfloat16"),
        ("cuda", {"method": "full"}, "bfloat16", "float32", "bfloat16"),
        ("cuda", {"precision": "fp32"}, "float32", "float32", "bfloat16"),
    ],
)
def test_the_numbers_follow_device_method_and_precision(
    monkeypatch: pytest.MonkeyPatch, device: str, given: dict[str, str], computed: str, weights: str, saved: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    settings = settings_for("org/model", **given)
    found = (compute_dtype(settings, device), weights_dtype(settings, device), saved_dtype(settings, device))
    assert found == tuple(getattr(torch, name) for name in (computed, weights, saved))


def test_a_gpu_without_bf16_in_hardware_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert compute_dtype(settings_for("org/model"), "cuda") == torch.float32


def test_lora_trains_every_linear_layer_but_the_output_and_nothing_else(base: Path) -> None:
    model = load_base(settings_for(base), device="cpu")
    assert {name.rpartition(".")[2] for name in adapted(model)} == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    learned = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learned
    assert all("lora_" in name for name in learned)


def test_an_adapter_is_fp32_on_a_base_in_bf16(base: Path) -> None:
    model = load_base(settings_for(base, precision="bf16"), device="cpu")
    dtypes = {("lora_" in name, parameter.dtype) for name, parameter in model.named_parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}


def test_the_adapters_first_values_depend_on_the_seed_only(base: Path) -> None:
    def first(seed: int) -> torch.Tensor:
        torch.rand(3)
        model = load_base(settings_for(base, seed=seed), device="cpu")
        return next(value for name, value in model.named_parameters() if "lora_A" in name)

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_a_full_training_trains_all_weights(base: Path) -> None:
    model = load_base(settings_for(base, method="full"), device="cpu")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not adapted(model)


@pytest.mark.parametrize("modules", [("lm_head",), ("q_proj", "embed_tokens")])
def test_output_and_embeddings_get_no_adapter(base: Path, modules: tuple[str, ...]) -> None:
    with pytest.raises(TrainingError, match=rf"target_modules has {modules[-1]}.*down_proj, gate_proj, k_proj"):
        load_base(settings_for(base, target_modules=modules), device="cpu")


def test_modules_that_are_not_there_are_told_with_those_that_are(base: Path) -> None:
    with pytest.raises(TrainingError, match=r"query_key_value.*linear layers are down_proj, .*v_proj"):
        load_base(settings_for(base, target_modules=("query_key_value",)), device="cpu")


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_base_is_trained_on_the_cpu(base: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes")
    model = load_base(settings_for(base, method="qlora", quantization_bits=bits), device="cpu")
    kinds = {type(layer.get_base_layer()).__name__ for layer in model.modules() if isinstance(layer, LoraLayer)}
    assert kinds == {"Linear4bit" if bits == 4 else "Linear8bitLt"}
    losses = train(model, examples(2))
    assert losses[-1] < losses[1] - 0.1


def test_an_evaluation_does_not_change_a_base_in_4_bit(base: Path) -> None:
    pytest.importorskip("bitsandbytes")
    model = trained(base, method="qlora")
    ids = torch.tensor([examples(1)[0].ids])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        model.eval()
        during = model(input_ids=ids).logits
        model.train()
        after = model(input_ids=ids).logits
    assert torch.equal(before, during)
    assert torch.equal(before, after)


def test_an_adapter_that_was_rounded_is_brought_back_to_fp32(base: Path) -> None:
    model = load_base(settings_for(base), device="cpu")
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    adapter_in_fp32(model)
    kinds = {(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_without_bitsandbytes_qlora_says_what_to_install(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"bitsandbytes.*rasa-ft-ext\[train\]"):
        load_base(settings_for(base, method="qlora"), device="cpu")


def test_a_bitsandbytes_without_the_devices_code_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    with pytest.raises(TrainingError, match=r"cannot quantise on mps.*method lora"):
        check_bitsandbytes("mps")
    broken = type("ErrorHandlerMockBNBNativeLibrary", (), {"error_msg": "no binary for CUDA 99"})()
    monkeypatch.setattr(bitsandbytes.cextension, "lib", broken)
    with pytest.raises(TrainingError, match=r"cannot quantise on cuda: no binary for CUDA 99"):
        check_bitsandbytes("cuda")


@pytest.mark.parametrize(
    ("processes", "method", "device", "expected"),
    [
        (None, "lora", "cuda", {"": 0}),
        (None, "lora", "cpu", {"": "cpu"}),
        ("2", "lora", "cuda", {"": 1}),
        ("2", "qlora", "cuda", {"": 1}),
        ("2", "qlora", "cpu", {"": "cpu"}),
    ],
)
def test_each_process_loads_onto_its_own_device(
    monkeypatch: pytest.MonkeyPatch, processes: str | None, method: str, device: str, expected: dict[str, object] | None
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if processes:
        monkeypatch.setenv("WORLD_SIZE", processes)
        monkeypatch.setenv("LOCAL_RANK", "1")
    assert module._device_map(settings_for("org/model", method=method), device) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["LlamaForSequenceClassification"]}, "is no causal language model.*SequenceClass"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "is no causal language model"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "is no causal language model"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"quantised already \(gptq\)"),
        ({"model_type": "of-next-year", "architectures": ["Next"]}, "of a kind that this transformers does not know"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.OwnLM"}},
            "code that comes with the model, which is never run",
        ),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(
    base: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RasaFtError, match=message):
        load_base(settings_for(change_config(base, tmp_path / "other", **changes)), device="cpu")


def test_weights_that_can_carry_code_are_not_loaded(base: Path, tmp_path: Path) -> None:
    folder = change_config(base, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(TrainingError, match="no weights as safetensors"):
        load_base(settings_for(folder), device="cpu")


def test_a_gated_model_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    from huggingface_hub import errors

    def refuse(*_: object, **__: object) -> None:
        response = httpx.Response(401, request=httpx.Request("GET", "https://huggingface.co/org/gated"))
        raise errors.GatedRepoError("gated", response=response)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(ConfigError, match=r"org/gated cannot be loaded(.|\n)*HF_TOKEN"):
        load_base(settings_for("org/gated"), device="cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_lower_best_first(error: Exception) -> None:
    settings = settings_for("org/model", batch_size=8, gradient_accumulation=2)
    with pytest.raises(TrainingError) as caught, memory_advice(settings):
        raise error
    said = str(caught.value)
    order = ("batch_size: 4 with gradient_accumulation: 4", "gradient_checkpointing: true", "max_length", "qlora")
    places = [said.find(words) for words in order]
    assert -1 not in places
    assert places == sorted(places)
    assert caught.value.__cause__ is error


def test_what_is_lowered_already_is_not_told_again() -> None:
    settings = settings_for("org/model", batch_size=1, eval_batch_size=1, gradient_checkpointing=True, method="qlora")
    with pytest.raises(TrainingError) as caught, memory_advice(settings):
        raise MemoryError
    said = str(caught.value)
    assert not [words for words in ("batch_size", "checkpointing", "qlora", "quantization_bits") if words in said]
    assert "base_model: a smaller one" in said


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes do not fit"), memory_advice(settings_for("org/model")):
        raise RuntimeError("shapes do not fit")


def test_an_adapter_for_another_base_is_refused_and_both_are_named(base: Path, tmp_path: Path) -> None:
    other = write_base(tmp_path / "other", seed=1)
    write_record(tmp_path / "adapter" / BASE_FILE, describe_base(settings_for(base)))
    check_adapter(tmp_path / "adapter", settings_for(base))
    with pytest.raises(TrainingError) as caught:
        check_adapter(tmp_path / "adapter", settings_for(other))
    assert str(base) in str(caught.value)
    assert str(other) in str(caught.value)


def test_a_base_is_known_again_wherever_it_lies(base: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "adapter" / BASE_FILE, describe_base(settings_for(base)))
    moved = shutil.copytree(base, tmp_path / "moved")
    check_adapter(tmp_path / "adapter", settings_for(moved))


def test_of_an_adapter_from_elsewhere_the_name_decides(base: Path, tmp_path: Path) -> None:
    load_base(settings_for(base), device="cpu").save_pretrained(tmp_path / "adapter")
    check_adapter(tmp_path / "adapter", settings_for(base))
    other = shutil.copytree(base, tmp_path / "other")
    with pytest.raises(TrainingError, match="was trained on"):
        check_adapter(tmp_path / "adapter", settings_for(other))


def test_a_folder_without_adapter_is_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no adapter"):
        check_adapter(tmp_path, settings_for(base))


def test_one_changed_number_makes_another_fingerprint(base: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(base, tmp_path / "changed")
    file = changed / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert module.fingerprint(str(base)) != module.fingerprint(str(changed))
    assert module.fingerprint("org/not-here") is None


def test_a_model_of_the_hub_is_known_by_the_commit_that_was_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "models--org--model/snapshots/0123abc/config.json"
    monkeypatch.setattr(module, "_cached_config", lambda base_model, revision: file)
    assert module.commit_of("org/model", "main") == "0123abc"


def test_a_folder_has_no_commit(tmp_path: Path) -> None:
    assert module.commit_of(str(tmp_path), None) is None
