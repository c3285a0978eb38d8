"""Files that run a model in production: Docker, Compose, Kubernetes or systemd.

    written = write_deployment("compose", "deploy", settings, variant="cpu")
    written.files, written.steps, written.base_url

Versions are pinned, keys are referred to and never written, the model is served offline and read-only by a user who is
not root. This package starts nothing and talks to nobody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rasa_ft_ext.errors import ConfigError, ServeError
from rasa_ft_ext.model_server.settings import ServeSettings
from rasa_ft_ext.serve.deployment import compose, docker, kubernetes, systemd
from rasa_ft_ext.serve.deployment.plan import VARIANTS, make_plan

__all__ = ["KINDS", "VARIANTS", "Deployment", "write_deployment"]

KINDS = {"docker": docker, "compose": compose, "kubernetes": kubernetes, "systemd": systemd}


@dataclass(frozen=True)
class Deployment:
    """What was written, the commands that bring it to life, in their order, and where it will answer."""

    files: tuple[Path, ...]
    steps: tuple[str, ...]
    base_url: str


def write_deployment(
    kind: str,
    folder: str | Path,
    settings: ServeSettings,
    *,
    variant: str = "gpu",
    image: str | None = None,
    key: bool = True,
    force: bool = False,
) -> Deployment:
    """Write the files of a deployment into a folder: all of them, or none.

    Args:
        kind: One of `KINDS`.
        folder: Where to write; it is made if need be.
        settings: The model and how it is served; a key in them is not written.
        variant: `gpu` or `cpu`.
        image: Another image of vLLM than the official one, with its version.
        key: Whether callers must show a key.
        force: Replace files that are there already and say something else.

    Raises:
        ConfigError: the settings cannot be deployed so; all problems at once.
        ServeError: files are in the way, or cannot be written.
    """
    if kind not in KINDS:
        raise ConfigError("rasa-ft serve --write", [f"There is no '{kind}'. Choose one of {', '.join(KINDS)}."])
    plan = make_plan(kind, settings, variant=variant, image=image, key=key)
    target = Path(folder)
    texts = KINDS[kind].files(plan)
    _write(target, texts, force=force)
    base_url = kubernetes.base_url(plan) if kind == "kubernetes" else docker.base_url(plan)
    return Deployment(tuple(target / name for name in texts), tuple(KINDS[kind].steps(plan, target)), base_url)


def _write(folder: Path, texts: Mapping[str, str], *, force: bool) -> None:
    drafts = {folder / name: folder / f".{name}.rasa-ft-draft" for name in texts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        changed = [path.name for path in drafts if _differs(path, texts[path.name])]
        if changed and not force:
            raise ServeError(
                f"{folder} holds other versions of {', '.join(changed)}. "
                "Give another folder, or replace them with --force."
            )
        for path, draft in drafts.items():
            draft.write_text(texts[path.name], encoding="utf-8", newline="\n")
            draft.chmod(0o755 if path.suffix == ".sh" else 0o644)
        for path, draft in drafts.items():
            os.replace(draft, path)
    except OSError as error:
        raise ServeError(f"The files of the deployment cannot be written to {folder}: {error}.") from error
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _differs(path: Path, text: str) -> bool:
    return path.exists() and (path.is_dir() or path.read_bytes() != text.encode())
