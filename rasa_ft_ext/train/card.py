"""What stands beside a trained model: `README.md`, the model card that the hub shows.

    (folder / "README.md").write_text(model_card(facts))

It is made of the facts that the manifest has, and of nothing else. This module knows no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext._version import __version__
from rasa_ft_ext.finetuned import TrainFacts
from rasa_ft_ext.yaml import to_yaml

CARD = "README.md"


def model_card(facts: TrainFacts) -> str:
    """The model card: Markdown with the front matter of the Hugging Face hub."""
    sections = [
        f"---\n{to_yaml(_front_matter(facts))}---",
        f"# {facts.name}",
        _what(facts),
        "## Intended use",
        _use(facts),
        "## Serving",
        _serving(facts),
        "## Data",
        _data(facts),
        "## Validation",
        _validation(facts),
        "## Training",
        _training(facts),
        "## Limits",
        _limits(facts),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(facts: TrainFacts) -> dict[str, Any]:
    """A folder as base is left out, since the hub knows models by name only."""
    on_hub = not Path(facts.base_model).is_absolute() and facts.base_model.count("/") == 1
    entries = {
        "base_model": facts.base_model if on_hub else None,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": facts.base_license,
        "language": facts.language,
        "tags": ["rasa", "calm", "command-generation", "rasa-ft-ext"],
    }
    return {name: value for name, value in entries.items() if value is not None}


def _what(facts: TrainFacts) -> str:
    method = {"full": "all of its weights"}.get(str(facts.settings.get("method")), "a LoRA adapter, merged,")
    of = f" of the assistant {facts.assistant}" if facts.assistant else ""
    return (
        f"Generates the commands{of} from a user's message and the conversation so far. It is {facts.base_model} with "
        f"{method} trained by rasa-ft-ext {__version__}."
    )


def _use(facts: TrainFacts) -> str:
    return (
        "The command generator of a Rasa CALM assistant, and only of the one whose prompts it has learned. It answers "
        "in commands, one a line, and is no chat model any more. Prompts must be rendered from the template that the "
        "data was made with; with another one, train again.\n\n"
        + _table(
            ("", ""),
            [
                *((f"prompt template {name}", f"`{digest or 'not kept'}`") for name, digest in facts.templates.items()),
                ("command syntax", facts.syntax or "unknown"),
                ("Rasa Pro", facts.rasa_version or "unknown"),
            ],
        )
    )


def _serving(facts: TrainFacts) -> str:
    length = f" --max-model-len {facts.max_length}" if facts.max_length else ""
    dtype = f" --dtype {facts.dtype}" if facts.dtype else ""
    return (
        "In this folder:\n\n"
        f"    vllm serve . --served-model-name {facts.name}{dtype}{length} --enable-prefix-caching\n\n"
        "Use it with temperature 0; `generation_config.json` says where an answer ends."
    )


def _data(facts: TrainFacts) -> str:
    return _table(
        ("", ""),
        [
            ("examples to train with", str(facts.train_rows)),
            ("examples to validate with", str(facts.validation_rows)),
            ("SHA-256", f"`{facts.data_hash}`"),
        ],
    )


_METRICS = {
    "exact_match": "command accuracy: answers with just the expected commands",
    "micro_f1": "F1 of all commands",
    "macro_f1": "F1, mean of the commands' types",
    "slot_value_accuracy": "slots with the expected value",
    "unparsable": "answers that are no commands",
    "loss": "loss",
}


def _validation(facts: TrainFacts) -> str:
    rows = [(text, _number(name, facts.metrics[name])) for name, text in _METRICS.items() if name in facts.metrics]
    by_command = facts.metrics.get("by_command") or {}
    parts = [_table(("", ""), rows)] if rows else ["There was no validation: nothing is known of its accuracy."]
    if by_command:
        parts.append(_table(("command", "precision", "recall", "F1", "expected"), list(_rates(by_command))))
    if facts.parity:
        parts.append(
            "This merged model was compared with the trained one on "
            f"{facts.parity.get('examples')} examples: the logits differ by at most "
            f"{float(facts.parity.get('max_logit_difference', 0)):.2g}, and {facts.parity.get('answers_that_differ')} "
            "answers differ."
        )
    return "\n\n".join(parts)


def _rates(by_command: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for command, rates in by_command.items():
        shares = (_number(name, rates.get(name)) for name in ("precision", "recall", "f1"))
        yield (command, *shares, str(rates.get("support", "")))


def _number(name: str, value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if name == "loss" else f"{value:.1%}"


def _training(facts: TrainFacts) -> str:
    base = ", ".join(
        filter(
            None,
            (
                facts.base_revision and f"revision `{facts.base_revision}`",
                facts.base_fingerprint and f"weights `{facts.base_fingerprint}`",
            ),
        )
    )
    parts = [f"Base: {facts.base_model}" + (f" ({base})" if base else "")]
    if facts.settings:
        settings = to_yaml(facts.settings).rstrip("\n")
        parts.append(f"Settings:\n\n```yaml\n{settings}\n```")
    if facts.packages:
        parts.append("Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(facts.packages.items())))
    return "\n\n".join(parts)


def _limits(facts: TrainFacts) -> str:
    license_ = facts.base_license or "that of the base model"
    return (
        "It knows the flows and slots that were in its data: after a change of the assistant, prepare data and train "
        "again. The accuracy above holds for messages like those of the validation set, which were made from E2E tests "
        "and their rephrasings; measure with your own tests before you put it in front of users. Its labels are "
        f"those of the model that it learned from, mistakes included. License: {license_}."
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
