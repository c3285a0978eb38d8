"""The base model: where it is loaded, in which numbers, quantised or not, and what of it is trained.

    device = pick_device(settings.device)
    with memory_advice(settings):
        model = load_base(settings, device=device)      # LoRA, QLoRA or full: ready to be trained
    check_adapter(folder, settings)                     # before an adapter is loaded that is already there

What goes wrong in other people's code is told here as a `TrainingError` with what to do next. This module knows
nothing of data, of tokenizers and of how a training goes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import MissingExtraError, TrainingError
from rasa_ft_ext.train.hub import hub_error, reach
from rasa_ft_ext.train.processes import share_a_model
from rasa_ft_ext.train.settings import TrainSettings
from rasa_ft_ext.workspace import read_record

BASE_FILE = "base_model.json"  # beside an adapter: which base it belongs to


class BaseRecord(Record):
    """Which base an adapter belongs to.

    `fingerprint` is made from the weight files themselves (see `fingerprint`), so it holds wherever they lie and
    whatever the model is called; None where the model has no files that could be read.
    """

    base_model: str
    revision: str | None
    fingerprint: str | None


def pick_device(device: str) -> str:
    """The device to train on: what is asked for, or the first of cuda, mps and cpu that there is.

    Raises:
        TrainingError: what is asked for is not there.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, available in there.items() if available)
    if not there[device]:
        found = " and ".join(name for name, available in there.items() if available)
        build = (
            "" if device != "cuda" or torch.version.cuda else f" This build of torch ({torch.__version__}) has no CUDA."
        )
        raise TrainingError(
            f"device is {device}, but torch sees none here, only {found}.{build} Set device to auto, or mend the "
            "driver or the installation of torch."
        )
    return device


def compute_dtype(settings: TrainSettings, device: str) -> Any:
    """The dtype that is computed in: bf16 where a GPU has it in hardware, unless the settings say otherwise."""
    import torch

    if settings.precision != "auto":
        return torch.bfloat16 if settings.precision == "bf16" else torch.float32
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device == "mps":
        return torch.bfloat16 if torch.backends.mps.is_macos_or_newer(14, 0) else torch.float32
    return torch.float32


def weights_dtype(settings: TrainSettings, device: str) -> Any:
    """The dtype of the base's weights while training.

    A full training keeps its weights in fp32 and computes in bf16 (autocast): its steps are smaller than what bf16 can
    add to a weight.
    """
    import torch

    return torch.float32 if settings.method == "full" else compute_dtype(settings, device)


@contextmanager
def computing(model: Any, dtype: Any) -> Iterator[None]:
    """Compute in this dtype, as the Trainer does, where the weights have another one."""
    import torch

    if dtype in (None, torch.float32):
        yield
        return
    with torch.autocast(model.device.type, dtype):
        yield


def saved_dtype(settings: TrainSettings, device: str) -> Any:
    """The dtype that the merged model is saved in: bf16, or fp32 where fp32 was computed on the CPU."""
    import torch

    return torch.float32 if device == "cpu" and compute_dtype(settings, device) == torch.float32 else torch.bfloat16


def load_base(settings: TrainSettings, *, device: str) -> Any:
    """Load the base model, ready to be trained: a peft model for lora and qlora, the model itself for full.

    The adapter's first values depend on the seed only. Under several processes each one loads its own copy.

    Raises:
        TrainingError: the model is not there or not to be had, is no causal language model, or does not fit.
        MissingExtraError: bitsandbytes is needed and not installed.
    """
    from transformers import AutoModelForCausalLM

    quantization = quantization_config(settings, device)
    _check_config(settings)
    with memory_advice(settings), _loading(settings):
        model = AutoModelForCausalLM.from_pretrained(
            settings.base_model,
            revision=settings.revision or "main",
            dtype=weights_dtype(settings, device),
            device_map=_device_map(settings, device),
            quantization_config=quantization,
            use_safetensors=True,
            trust_remote_code=False,
        )
        if settings.method == "full":
            return model.requires_grad_(True)
        if quantization is not None:
            model = _prepare_quantized(model)
        return add_adapter(model, settings)


def add_adapter(model: Any, settings: TrainSettings) -> Any:
    """Put a LoRA adapter on a base model, a new one or that of an earlier training; nothing else stays trainable.

    Raises:
        TrainingError: `target_modules` names modules that are not there or cannot have an adapter, or the earlier
            adapter is of another base.
    """
    import torch
    from peft import PeftModel, get_peft_model

    if settings.adapter is not None:
        check_adapter(settings.adapter, settings)
        return PeftModel.from_pretrained(model, str(settings.adapter), is_trainable=True)
    config = lora_config(settings, model)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        try:
            return get_peft_model(model, config, autocast_adapter_dtype=True)
        except ValueError as error:
            raise TrainingError(
                f"target_modules does not fit {settings.base_model}: {error} Its linear layers are "
                f"{', '.join(_linear_layers(model))}; take some of these, or all-linear."
            ) from error


def lora_config(settings: TrainSettings, model: Any) -> Any:
    """What peft has to know. The output layer and the embeddings get no adapter: in many models they are one tensor."""
    from peft import LoraConfig

    targets = settings.target_modules
    if targets != "all-linear":
        ends = _ends(model)
        wrong = [name for name in targets if any(f".{end}".endswith(f".{name}") for end in ends)]
        if wrong:
            raise TrainingError(
                f"target_modules has {' and '.join(wrong)}, but embeddings and output layer get no adapter. Leave "
                f"them out; the other linear layers are {', '.join(_linear_layers(model))}."
            )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets if targets == "all-linear" else list(targets),
        bias="none",
    )


def adapter_in_fp32(model: Any) -> None:
    """Bring an adapter back to fp32, in place.

    TRL casts the adapter of a quantised base to bf16 as it makes its trainer, and then the last, small steps of a
    training are lost in rounding. To be called between making the trainer and making its optimizer.
    """
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.to(torch.float32)


def quantization_config(settings: TrainSettings, device: str) -> Any:
    """How bitsandbytes quantises the base; None unless the method is qlora.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
        TrainingError: it does not work on this device.
    """
    if settings.method != "qlora":
        return None
    check_bitsandbytes(device)
    from transformers import BitsAndBytesConfig

    if settings.quantization_bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(settings, device),
    )


def check_bitsandbytes(device: str) -> None:
    """Make sure that bitsandbytes is there and has what it needs for the device.

    Raises:
        MissingExtraError: it is not installed.
        TrainingError: it is of no use for the device.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise MissingExtraError("bitsandbytes, which qlora and 4 bit need,", "train") from error
    from bitsandbytes import cextension

    library = getattr(cextension, "lib", None)
    broken = type(library).__name__ == "ErrorHandlerMockBNBNativeLibrary"
    if device == "mps" or device not in bitsandbytes.supported_torch_devices or broken:
        why = f": {getattr(library, 'error_msg', '')}" if broken else ""
        raise TrainingError(
            f"bitsandbytes {bitsandbytes.__version__} cannot quantise on {device}{why}. Take the method lora, or "
            "install a bitsandbytes that fits this device and this torch."
        )


def commit_of(base_model: str, revision: str | None) -> str | None:
    """The commit that a branch or tag of a model on the hub stands for; None for a folder."""
    config = _cached_config(base_model, revision)
    return config.parent.name if config is not None and config.parent.parent.name == "snapshots" else None


def _cached_config(base_model: str, revision: str | None) -> Path | None:
    """Where the config of a model on the hub lies on this machine."""
    from transformers.utils import cached_file

    if Path(base_model).is_dir():
        return None
    try:
        file = cached_file(base_model, "config.json", revision=revision or "main", local_files_only=True)
    except (OSError, ValueError):
        return None
    return Path(file) if file else None


def fingerprint(base_model: str, revision: str | None = None) -> str | None:
    """A SHA-256 by which the weights of a base model are known again, wherever they lie.

    It is taken of the weight files' headers and of samples spread over each file, so that it takes no minutes for a
    big model. None where the files are not on this machine.
    """
    folder = Path(base_model)
    if not folder.is_dir():
        config = _cached_config(base_model, revision)
        if config is None:
            return None
        folder = config.parent
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        _add_samples(digest, file)
    return digest.hexdigest()


def _add_samples(digest: Any, file: Path, samples: int = 256, length: int = 4096) -> None:
    """Add a safetensors file: its size, its header, and evenly spread pieces of its tensors."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        header = stream.read(min(int.from_bytes(head, "little"), size))
        digest.update(size.to_bytes(8, "little") + head + header)
        start = stream.tell()
        for index in range(samples):
            stream.seek(start + (size - start) * index // samples)
            digest.update(stream.read(length))


def describe_base(settings: TrainSettings) -> BaseRecord:
    """Which base the settings name, with the commit that a branch stands for now."""
    with _loading(settings):
        _config(settings)
    return BaseRecord(
        base_model=settings.base_model,
        revision=commit_of(settings.base_model, settings.revision) or settings.revision,
        fingerprint=fingerprint(settings.base_model, settings.revision),
    )


def check_adapter(folder: Path, settings: TrainSettings) -> None:
    """Refuse an adapter that was trained on another base; its numbers would fit, its answers would not.

    An adapter that this package saved says which weights it belongs to; of any other one only the name is known.

    Raises:
        TrainingError: it belongs to another base, or there is no adapter.
    """
    from peft import PeftConfig

    given = describe_base(settings)
    if (folder / BASE_FILE).is_file():
        trained_on = read_record(folder / BASE_FILE, BaseRecord)
    else:
        try:
            name = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(
                f"{folder} holds no adapter that can be read: {error}. Give the folder `adapter` of a training."
            ) from error
        trained_on = BaseRecord(base_model=str(name), revision=None, fingerprint=None)
    if trained_on.fingerprint and given.fingerprint:
        same = trained_on.fingerprint == given.fingerprint
    else:
        same = _same_place(trained_on.base_model, given.base_model)
    if not same:
        raise TrainingError(
            f"The adapter in {folder} was trained on {_named(trained_on)}, but the base model is {_named(given)}. Set "
            "base_model and revision to those it was trained on, or train a new adapter."
        )


def _named(base: BaseRecord) -> str:
    weights = f"weights {base.fingerprint[:12]}" if base.fingerprint else ""
    details = ", ".join(filter(None, (base.revision and f"revision {base.revision[:12]}", weights)))
    return f"{base.base_model} ({details})" if details else base.base_model


def _same_place(one: str, other: str) -> bool:
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())


@contextmanager
def memory_advice(settings: TrainSettings) -> Iterator[None]:
    """Turn running out of memory, on any device, into an error that says which settings to change, best first."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        steps = "".join(f"\n  {number}. {step}" for number, step in enumerate(_smaller(settings), 1))
        said = (str(error).strip() or "out of memory").splitlines()[0]
        raise TrainingError(
            f"There is not enough memory for this training: {said}\n"
            f"Change these settings, one after the other, and run the command again:{steps}"
        ) from error


_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
    "cannot allocate memory",
)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in said for words in _OUT_OF_MEMORY)


def _smaller(settings: TrainSettings) -> Iterator[str]:
    """What to change for less memory: first what costs nothing, last what changes the result."""
    if settings.batch_size > 1:
        half, times = settings.batch_size // 2, settings.gradient_accumulation * 2
        yield f"batch_size: {half} with gradient_accumulation: {times}: the same training, somewhat slower."
    if settings.eval_batch_size > 1:
        yield f"eval_batch_size: {settings.eval_batch_size // 2}, if it happened in an evaluation."
    if settings.gradient_checkpointing is not True:
        yield "gradient_checkpointing: true: the same training, a third more time."
    shorter = "if your prompts are shorter; `over_length: drop` lists those that are not."
    yield f"max_length: less than {settings.max_length}, {shorter}"
    if settings.method == "full":
        yield "method: lora: an eighth of the memory."
    if settings.method != "qlora" and settings.device != "mps":
        yield "method: qlora: a quarter of the memory for the base's weights."
    elif settings.quantization_bits == 8:
        yield "quantization_bits: 4: half the memory for the base's weights."
    yield "base_model: a smaller one."


def _device_map(settings: TrainSettings, device: str) -> dict[str, Any] | None:
    """Straight to its device; to the CPU where FSDP is going to divide it."""
    if share_a_model() and settings.method != "qlora":
        return None
    if device == "cuda":
        return {"": int(os.environ.get("LOCAL_RANK", "0"))}
    return {"": device}


def _prepare_quantized(model: Any) -> Any:
    """Freeze a quantised base and bring what is not quantised to fp32, as peft does for every QLoRA.

    On CPUs with bf16 instructions bitsandbytes repacks 4-bit weights at the first forward pass outside of training, and
    rounds to bf16 from then on, in training too. We keep it from that: an evaluation must not change the model.
    """
    from peft import prepare_model_for_kbit_training

    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def _ends(model: Any) -> list[str]:
    """The names of the embeddings and of the output layer."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return [name for name, module in model.named_modules() if any(module is end for end in ends)]


def _linear_layers(model: Any) -> list[str]:
    """The last parts of the names of all linear layers that may get an adapter."""
    import torch

    ends = _ends(model)
    linear = (name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    return sorted({name.rpartition(".")[2] for name in linear if name not in ends})


def _config(settings: TrainSettings) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(
        settings.base_model, revision=settings.revision or "main", trust_remote_code=False
    )


def _check_config(settings: TrainSettings) -> None:
    """Find out from its config, before its weights are fetched, whether a model can be trained here."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    reach(settings.base_model, settings.revision)
    with _loading(settings):
        config = _config(settings)
    architectures = config.architectures or []
    known = [name for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for name in _as_tuple(names)]
    fits = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not config.is_encoder_decoder
    if not fits or (architectures and not set(architectures) & set(known)):
        raise TrainingError(
            f"{settings.base_model} is no causal language model (model_type {config.model_type}, architectures "
            f"{', '.join(architectures) or 'none'}). Set base_model to one that generates text, such as an Instruct "
            "model."
        )
    if getattr(config, "quantization_config", None):
        method = dict(config.quantization_config).get("quant_method", "some way")
        raise TrainingError(
            f"{settings.base_model} is quantised already ({method}), and merging an adapter into it would round once "
            "more. Set base_model to the model that it was made from; the method qlora quantises it while training."
        )


def _as_tuple(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


@contextmanager
def _loading(settings: TrainSettings) -> Iterator[None]:
    """Tell in our words what goes wrong while a model is looked for, fetched and loaded."""
    try:
        yield
    except OSError as error:
        if "safetensors" in str(error) and Path(settings.base_model).is_dir():
            raise TrainingError(
                f"{settings.base_model} has no weights as safetensors, the only format that is read here: others can "
                "carry code. Load it once where you trust it and save it with save_pretrained."
            ) from error
        raise hub_error(settings.base_model, error, settings.revision) from error
    except (ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise hub_error(settings.base_model, error, settings.revision) from error
        if "does not recognize this architecture" in str(error) or "model_type" in str(error):
            raise TrainingError(
                f"{settings.base_model} is of a kind that this transformers does not know. Update transformers, or "
                f"set base_model to another one. It said: {str(error).splitlines()[0]}"
            ) from error
        raise
