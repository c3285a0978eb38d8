"""Parity on real weights: a server with one tensor changed is not the model folder's."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from rasa_ft_ext.errors import ServeError  # noqa: E402
from rasa_ft_ext.evaluate.reference import reference_for  # noqa: E402
from rasa_ft_ext.evaluate.served import Served  # noqa: E402
from rasa_ft_ext.evaluate.stage import evaluate  # noqa: E402
from rasa_ft_ext.evaluation import read_evaluation  # noqa: E402
from rasa_ft_ext.finetuned import TrainFacts, write_manifest  # noqa: E402
from rasa_ft_ext.model_server.settings import ServeSettings  # noqa: E402
from rasa_ft_ext.model_server.transformers import TransformersServer  # noqa: E402
from tests.evaluate.evaluate_builders import output_folder, request  # noqa: E402
from tests.served import write_model  # noqa: E402


def perturb(model: Path) -> None:
    """Change one tensor of one layer by 1 % of noise."""
    weights = next(model.glob("*.safetensors"))
    tensors: dict[str, Any] = load_file(weights)
    name = sorted(name for name in tensors if "down_proj" in name)[-1]
    torch.manual_seed(0)
    tensors[name] = tensors[name] + 0.01 * tensors[name].std() * torch.randn_like(tensors[name])
    save_file(tensors, weights, metadata={"format": "pt"})


def test_one_changed_tensor_in_the_served_model_is_caught(tmp_path: Path) -> None:
    folder = tmp_path / "finetuned_model"
    write_model(folder / "merged")
    shutil.copytree(folder / "merged", tmp_path / "perturbed")
    perturb(tmp_path / "perturbed")
    workspace = output_folder(tmp_path / "output")
    facts = TrainFacts(name="student", base_model="b", data_hash="d", train_rows=1, validation_rows=1, dtype="float32")
    write_manifest(folder, facts)

    with TransformersServer(ServeSettings(model=str(tmp_path / "perturbed"), name="student", port=0)) as server:
        asked = request(
            server.base_url,
            served=Served("student", server.base_url),
            parts=("parity",),
            model_folder=folder,
            reference=reference_for(folder),
        )
        with pytest.raises(ServeError, match="log probabilities differ"):
            asyncio.run(evaluate(workspace, asked))

    parity = read_evaluation(workspace.root).parity
    assert parity is not None
    assert parity.changed_files == ()
    assert 1e-3 < parity.largest_difference < 0.5, "it must be small, or anything would have found it"
