"""What can be served, and how: a training, a model's folder, or a model of the hub.

    found = find_model("finetuned_model")                # its merged model
    found = find_model("finetuned_model/adapter")        # its adapter, on the base that it was trained on
    found = find_model("some/base", lora="my_adapter")

All that is wrong with a folder is told at once, before a server is started that would find the first of it after a
minute. Of a model on the hub nothing is known here. This module starts nothing and loads no weights.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.finetuned import ADAPTER, MERGED, TrainFacts, changed_files, read_manifest
from rasa_ft_ext.workspace import MANIFEST

ADAPTER_CONFIG = "adapter_config.json"
_HUB = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "spiece.model")
_DTYPES = ("bfloat16", "float16", "float32")
_ROUND, _LEAST_ANSWER = 256, 256  # Rasa asks for up to 256 tokens where nobody says otherwise


@dataclass(frozen=True)
class Found:
    """A model that can be served. What it does not know is None."""

    model: str
    """Its folder, or its name on the hub; with an adapter, that of the base."""
    name: str
    """What it is called where nobody says otherwise: as the training, or the folder."""
    revision: str | None = None
    """Which state of a base on the hub."""
    lora: str | None = None
    """Folder of the adapter."""
    lora_rank: int | None = None
    """Rank of the adapter."""
    tokenizer: str | None = None
    """Folder of tokenizer and chat template, where it is not the model's."""
    generation_config: str | None = None
    """Folder of the generation config, where it is not the model's."""
    dtype: str | None = None
    """Type of its weights."""
    max_model_len: int | None = None
    """The tokens that prompt and answer need in production: twice those of the data, as far as the model reaches."""
    model_hash: str | None = None
    """What names the weights of a merged model, see `TrainManifest.model_hash`."""
    training: Path | None = None
    """The folder of the training that this merged model comes from."""
    notes: tuple[str, ...] = ()
    """What a person should know."""


def find_model(model: str, *, lora: str | None = None, project: Path = Path(".")) -> Found:
    """Find out what is to be served.

    Args:
        model: Folder of a training, of the adapter in it or of any model, or a name on the hub such as `org/model`.
        lora: Folder of an adapter for that model.
        project: The folder that relative paths start from.

    Raises:
        ConfigError: it cannot be served; all problems at once.
        WorkspaceError: the training's manifest cannot be read.
    """
    folder = project / model
    training = next((place for place in (folder, folder.absolute().parent) if _is_training(place)), None)
    if not folder.exists():
        return _of_hub(model, lora, project, training)
    if not folder.is_dir():
        raise ConfigError(model, ["This is a file. Give the folder that it is in."])
    if lora is not None:
        if training == folder:
            raise ConfigError(
                model, [f"This is the folder of a training. For its adapter, give {Path(model, ADAPTER)} alone."]
            )
        return _with_adapter(_whole(folder, model), project / lora)
    if training == folder:
        return _merged_of(training)
    if training is not None and folder.absolute().name == ADAPTER:
        return _adapter_of(training, project)
    return _whole(folder, model, training)


def _is_training(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() and any((folder / name).is_dir() for name in (MERGED, ADAPTER))


def _merged_of(training: Path) -> Found:
    if not (training / MERGED).is_dir():
        raise ConfigError(
            str(training),
            [f"There is no {MERGED}/ in it. Serve {training / ADAPTER}, which needs the base, or train again."],
        )
    return _whole(training / MERGED, str(training / MERGED), training)


def _whole(folder: Path, said: str, training: Path | None = None) -> Found:
    """A folder with all that a model is made of."""
    _check_model(folder, said)
    if training is None:
        return Found(str(folder), folder.resolve().name, dtype=_dtype(folder))
    manifest, part = read_manifest(training), folder.absolute().name
    return Found(
        str(folder),
        manifest.facts.name,
        dtype=_dtype(folder) or _known(manifest.facts.dtype),
        max_model_len=_length(manifest.facts, _reach(folder)),
        model_hash=manifest.model_hash if part == MERGED else None,
        training=training if part == MERGED else None,
        notes=_changes(training, part),
    )


def _check_model(folder: Path, said: str) -> None:
    if (folder / ADAPTER_CONFIG).is_file():
        raise ConfigError(
            said,
            ["This is an adapter outside of its training, so it needs a base: give the base, and --lora DIR."],
        )
    if not (folder / "config.json").is_file():
        unfinished = " It holds a training that was not finished: run `rasa-ft train` again." if _begun(folder) else ""
        raise ConfigError(said, [f"This is no model: there is no config.json in it.{unfinished}"])
    problems = []
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        problems.append("There are no weights in it (*.safetensors).")
    if not _has_tokenizer(folder):
        problems.append(
            "There is no tokenizer in it (tokenizer.json). Save the tokenizer of the base beside the weights."
        )
    elif not _has_chat_template(folder):
        problems.append(
            "Its tokenizer has no chat template, so it cannot answer chats. Save the template that it was trained with "
            "as chat_template.jinja in that folder."
        )
    if problems:
        raise ConfigError(said, problems)


def _begun(folder: Path) -> bool:
    return (folder / "checkpoints").is_dir()


def _adapter_of(training: Path, project: Path) -> Found:
    """The adapter of a training on its base; what the merged model's folder says of the end of answers holds for it."""
    facts = read_manifest(training).facts
    adapter, merged = training / ADAPTER, training / MERGED
    base = next((place for place in (project / facts.base_model, Path(facts.base_model)) if place.is_dir()), None)
    if base is None and not _HUB.fullmatch(facts.base_model):
        raise ConfigError(
            str(training),
            [
                f"The base of its adapter, {facts.base_model}, is not there. Give the base and --lora {adapter}, or "
                f"serve {training}, the merged model."
            ],
        )
    found = _with_adapter(Found(str(base) if base else facts.base_model, facts.name), adapter)
    return Found(
        found.model,
        facts.name,
        revision=None if base else facts.base_revision,
        lora=found.lora,
        lora_rank=found.lora_rank,
        tokenizer=str(adapter) if _has_tokenizer(adapter) else None,
        generation_config=str(merged) if (merged / "generation_config.json").is_file() else None,
        dtype=(_dtype(base) if base else None) or _known(facts.dtype),
        max_model_len=_length(facts, _reach(base) if base else None),
        notes=_changes(training, ADAPTER),
    )


def _with_adapter(base: Found, adapter: Path) -> Found:
    config = _json(adapter / ADAPTER_CONFIG)
    if not config:
        raise ConfigError("--lora", [f"{adapter} holds no adapter: there is no {ADAPTER_CONFIG} in it."])
    own = _has_tokenizer(adapter) and _has_chat_template(adapter)
    return Found(
        base.model,
        adapter.resolve().name,
        lora=str(adapter),
        lora_rank=int(config.get("r", 0)) or None,
        tokenizer=str(adapter) if own else None,
        dtype=base.dtype,
    )


def _of_hub(model: str, lora: str | None, project: Path, training: Path | None) -> Found:
    if training is not None:
        why = ", since all weights were trained" if Path(model).name == ADAPTER else ""
        raise ConfigError(model, [f"There is no such folder in that training{why}. Give the folder of the training."])
    if not _HUB.fullmatch(model):
        raise ConfigError(model, ["There is no such folder, and models of the hub have names such as org/model."])
    found = Found(model, model.rpartition("/")[2])
    return found if lora is None else _with_adapter(found, project / lora)


def _length(facts: TrainFacts, reach: int | None) -> int | None:
    """Twice the longest prompt and answer of the data: users say more than tests do; None where they are not known."""
    if facts.longest_prompt is None:
        return None
    answer = max(2 * (facts.longest_answer or 0), _LEAST_ANSWER)
    wanted = -(-(2 * facts.longest_prompt + answer) // _ROUND) * _ROUND
    return min(wanted, reach) if reach else wanted


def _changes(training: Path, part: str) -> tuple[str, ...]:
    changed = [name for name in changed_files(training) if name.split("/")[0] == part]
    if not changed:
        return ()
    return (
        f"Changed since the training, which says nothing of this model any more: {', '.join(changed)} in {training}.",
    )


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZERS)


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json", "tekken.json")):
        return True
    return bool(_json(folder / "tokenizer_config.json").get("chat_template"))


def _dtype(folder: Path) -> str | None:
    config = _json(folder / "config.json")
    inner = config.get("text_config") or {}
    places = (config, inner) if isinstance(inner, dict) else (config,)
    return next(
        (found for place in places for key in ("dtype", "torch_dtype") if (found := _known(place.get(key)))), None
    )


def _known(dtype: Any) -> str | None:
    return dtype if dtype in _DTYPES else None


def _reach(folder: Path) -> int | None:
    """The most tokens that a model can look at."""
    config = _json(folder / "config.json")
    reach = config.get("max_position_embeddings") or (config.get("text_config") or {}).get("max_position_embeddings")
    return reach if isinstance(reach, int) else None


def _json(path: Path) -> dict[str, Any]:
    """What a file of a model says; nothing where it is not there or no JSON."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
