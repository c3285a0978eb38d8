"""The model itself: `train` and `serve`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rasa_ft_ext.progress import Progress

if TYPE_CHECKING:
    from rasa_ft_ext.model_server.base import ModelServer
    from rasa_ft_ext.train.preparation import Rows
    from rasa_ft_ext.train.settings import TrainSettings
    from rasa_ft_ext.train.summary import TrainSummary


def train(
    rows: str | Path | tuple[str | Path, str | Path | None] = "output",
    *,
    settings: TrainSettings,
    out: str | Path = "finetuned_model",
    project: str | Path = ".",
    final: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> TrainSummary:
    """Fine-tune a base model.

    Args:
        rows: The folder of `prepare_data`, or the files to train on and to validate on.
        settings: How it is trained; see `rasa_ft_ext.train.settings`.
        out: Folder that the model is written to.
        project: The folder that relative paths start from.
        final: Train on the validation rows as well.
        force: Start anew and replace a model that is there.
        progress: Is told how far it is.

    Raises:
        RasaFtError: something cannot work; says what to do.
    """
    from rasa_ft_ext.train.libraries import require_libraries

    require_libraries()
    from rasa_ft_ext.train import stage

    if isinstance(rows, tuple):
        first, second = rows
        given: Rows = (Path(project, first), Path(project, second) if second is not None else None)
    else:
        given = Path(project, rows)
    return stage.train(given, out=Path(project, out), settings=settings, final=final, force=force, progress=progress)


def serve(
    model: str | Path,
    *,
    engine: Literal["vllm", "transformers"] = "vllm",
    vllm: str | None = None,
    lora: str | None = None,
    served_model_name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    dtype: str | None = None,
    max_model_len: int | None = None,
    prefix_caching: bool = True,
    api_key_env: str | None = None,
    vllm_args: Sequence[str] = (),
    timeout: float = 600.0,
    project: str | Path = ".",
    progress: Progress | None = None,
) -> ModelServer:
    """Make a server of a model; as a context manager it starts, and runs for as long as the block.

    Args:
        model: The folder of `train`, that of the adapter in it, any model's folder, or a model's name on the hub.
        engine: What serves it.
        vllm: A Python that has vLLM, or its `vllm` command; by default the one on the PATH.
        lora: The folder of an adapter for the model.
        served_model_name: What callers give as `model`; by default the training's name, or the folder's.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        dtype: The type of the weights; by default that of the files.
        max_model_len: Most tokens of prompt and answer together; by default twice what the training's data needs.
        prefix_caching: Whether the common beginning of prompts is computed once.
        api_key_env: The environment variable with the key that callers must show; by default `VLLM_API_KEY`, if set.
        vllm_args: More arguments for vLLM.
        timeout: Seconds from the start to the first answer.
        project: The folder that relative paths start from.
        progress: Is told what a person should know.

    Raises:
        ConfigError: the model cannot be served; starting nothing.
        ServeError: there is no vLLM; or, as it starts, it dies or does not answer in time.
    """
    from rasa_ft_ext.serve import stage
    from rasa_ft_ext.serve.model import find_model

    found = find_model(str(model), lora=lora, project=Path(project))
    settings = stage.settings_of(
        found,
        name=served_model_name,
        host=host,
        port=port,
        dtype=dtype,
        max_model_len=max_model_len,
        prefix_caching=prefix_caching,
        api_key=stage.read_api_key(api_key_env),
        extra=vllm_args,
    )
    for note in (*found.notes, *stage.open_doors(settings)):
        (progress or Progress()).note(note)
    return stage.make_server(settings, engine=engine, vllm=vllm, timeout=timeout)
