"""What is to be deployed: one model, its name everywhere, the image, and where things are inside.

Every container has the model at the same place, `/models/<tag>/model`, and an adapter beside it. The tag is taken from
the weights, so other weights are another folder, another image, another rollout.
"""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.finetuned import MERGED, digests
from rasa_ft_ext.model_server.settings import ServeSettings, vllm_arguments
from rasa_ft_ext.workspace import sha256

VLLM_VERSION = "0.32.0"
VARIANTS = ("gpu", "cpu")
IMAGES = {
    "gpu": f"vllm/vllm-openai:v{VLLM_VERSION}",
    "cpu": f"vllm/vllm-openai-cpu:v{VLLM_VERSION}-x86_64",
}
KV_CACHE_GIB = 4  # of the CPU variant; on a GPU vLLM takes what is free
USER, GROUP = 2000, 0  # the user that vLLM's image is prepared for
ROOT = "/models"
CACHE = "/cache"  # the only place but /tmp that is written to
HEALTH = "/health"
EVERYWHERE = "0.0.0.0"

_GIB = 2**30


@dataclass(frozen=True)
class Part:
    """What is deployed under a name: a whole folder of this machine, or one file in it."""

    name: str
    folder: Path
    file: str | None = None

    @property
    def path(self) -> Path:
        return self.folder / self.file if self.file else self.folder

    def files(self) -> dict[str, Path]:
        """Its files by their paths where they are deployed."""
        found = [self.path] if self.file else sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {f"{self.name}/{path.relative_to(self.folder).as_posix()}": path for path in found}

    def is_readable(self) -> bool:
        """Whether every user of this machine may read it."""
        inner = [] if self.file else self.folder.rglob("*")
        return all(_is_open(path) for path in (self.path, *inner))


@dataclass(frozen=True)
class Plan:
    """One model and how it is deployed."""

    settings: ServeSettings
    """Of this machine, with its folders."""
    parts: tuple[Part, ...]
    variant: str
    image: str
    key: bool
    """Whether callers must show a key; the files say where it comes from, never what it is."""
    name: str
    """What containers, objects and units are called: lower case letters, digits and dashes."""
    tag: str
    """The beginning of the SHA-256 of the model's files."""
    size: int
    """Bytes of the model and what belongs to it."""

    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def on_gpu(self) -> bool:
        return self.variant == "gpu"

    @property
    def environment(self) -> dict[str, str]:
        """No telemetry, no downloads, and a home that can be written to for a user whom the image may not know."""
        fixed = {"HOME": CACHE, "USER": "vllm", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        return fixed if self.on_gpu else {**fixed, "VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GIB)}

    @property
    def gpus(self) -> int:
        """How many GPUs the arguments ask for."""
        return _gpus(self.settings.extra)

    @property
    def memory_gib(self) -> int:
        """Memory that the process needs: the weights as they are loaded, caches, Python and its libraries."""
        weights = self.size / _GIB
        return math.ceil(1.25 * weights + 8 if self.on_gpu else 2 * weights + KV_CACHE_GIB + 6)

    @property
    def disk_gib(self) -> int:
        """Space for two versions of the model: the earlier one stays, for a way back."""
        return math.ceil(2.2 * self.size / _GIB) + 1

    @property
    def inside(self) -> str:
        """The folder of this model in a container."""
        return f"{ROOT}/{self.tag}"

    def _moved(self, root: str) -> ServeSettings:
        """The settings where the parts lie below another folder; without the key."""
        places = {part.folder: f"{root}/{part.name}" for part in reversed(self.parts)}

        def there(folder: str | None) -> str | None:
            return None if folder is None else places[Path(folder).resolve()]

        return replace(
            self.settings,
            model=places[Path(self.settings.model).resolve()],
            lora=there(self.settings.lora),
            tokenizer=there(self.settings.tokenizer),
            generation_config=there(self.settings.generation_config),
            api_key=None,
        )

    def arguments(self, root: str, host: str) -> list[str]:
        """What vLLM is told where the parts lie below a folder: the same as by `rasa-ft serve`."""
        return vllm_arguments(replace(self._moved(root), host=host), on_cpu=not self.on_gpu)

    def serve_arguments(self) -> list[str]:
        """What follows `vllm serve` in a container: the model first, as that command wants it."""
        arguments = self.arguments(self.inside, EVERYWHERE)
        at = arguments.index("--model")
        return [arguments[at + 1], *arguments[:at], *arguments[at + 2 :]]


def make_plan(kind: str, settings: ServeSettings, *, variant: str, image: str | None, key: bool) -> Plan:
    """Check the settings as a whole and work out the rest.

    Raises:
        ConfigError: what they ask for cannot be deployed.
    """
    problems = list(_problems(kind, settings, variant, image))
    if problems:
        raise ConfigError(f"rasa-ft serve --write {kind}", problems)
    parts = tuple(_parts(settings))
    return Plan(
        settings=settings,
        parts=parts,
        variant=variant,
        image=image or IMAGES[variant],
        key=key,
        name=f"rasa-ft-{_slug(settings.name)}",
        tag=_tag(parts),
        size=sum(path.stat().st_size for part in parts for path in part.files().values()),
    )


def _parts(settings: ServeSettings) -> Iterator[Part]:
    """The model, its adapter, and what lies in neither of them."""
    whole = {"model": settings.model, "adapter": settings.lora}
    if settings.tokenizer not in whole.values():
        whole["tokenizer"] = settings.tokenizer
    yield from (Part(name, Path(folder).resolve()) for name, folder in whole.items() if folder is not None)
    if settings.generation_config not in whole.values() and settings.generation_config is not None:
        yield Part("generation", Path(settings.generation_config).resolve(), "generation_config.json")


def _problems(kind: str, settings: ServeSettings, variant: str, image: str | None) -> Iterator[str]:
    if variant not in VARIANTS:
        yield f"There is no variant '{variant}'. Choose one of {', '.join(VARIANTS)}."
    folders = (settings.model, settings.lora, settings.tokenizer, settings.generation_config)
    for folder in folders:
        if folder is not None and not Path(folder).is_dir():
            yield (
                f"'{folder}' is no folder here, and a deployment serves the very files that were tested. Fetch them "
                f"(`hf download {folder} --local-dir FOLDER`) and give FOLDER."
            )
    if settings.port == 0:
        yield "A deployment needs a port of its own, not any that is free. Give --port."
    if settings.lora is not None and "=" in settings.name:
        yield f"vLLM takes no adapter with '=' in its name: '{settings.name}'."
    if any(argument.split("=")[0] in ("--api-key", "--api_key") for argument in settings.extra):
        yield "A key does not belong into a file: leave --api-key away. The files refer to it."
    try:
        _gpus(settings.extra)
    except argparse.ArgumentError as error:
        yield f"The arguments for vLLM do not say how many GPUs they need: {error}."
    for text in (settings.name, *folders, settings.host, image, *settings.extra):
        if text is not None and not text.isprintable():
            yield f"{text!r} holds characters that do not fit on one line of a file."
    if kind in ("docker", "compose") and not _is_address(settings.host):
        yield f"A container is published at an address of the machine, such as 127.0.0.1, not at '{settings.host}'."
    if image is not None:
        yield from _problems_of_image(kind, image)


def _problems_of_image(kind: str, image: str) -> Iterator[str]:
    name, _, digest = image.partition("@")
    version = name.rpartition("/")[2].partition(":")[2]
    if kind == "systemd":
        yield "systemd runs vLLM without an image: leave --image away."
    elif not re.fullmatch(r"\S+", image):
        yield f"'{image}' is no image."
    elif not digest and version in ("", "latest"):
        yield f"The image '{image}' may be another one tomorrow. Give NAME:VERSION."


def _gpus(extra: tuple[str, ...]) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for names in (
        ("-tp", "--tensor-parallel-size"),
        ("-pp", "--pipeline-parallel-size"),
        ("-dp", "--data-parallel-size"),
    ):
        parser.add_argument(*names, type=int, default=1)
    return math.prod(vars(parser.parse_known_args(extra)[0]).values())


def published_at(host: str) -> str:
    """The address of the machine at which a container's port is published."""
    return "127.0.0.1" if host == "localhost" else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(published_at(host))
    except ValueError:
        return False
    return True


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "model"
    if name.isascii():
        return slug
    return f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"  # whole scripts are lost: names would become one


def _tag(parts: tuple[Part, ...]) -> str:
    """Of a merged model alone, the beginning of its training's `model_hash`."""
    files: dict[str, str] = {}
    for part in parts:
        name = MERGED if part.name == "model" else part.name
        found = {part.file: sha256(part.path)} if part.file else digests(part.folder)
        files |= {f"{name}/{path}": digest for path, digest in found.items()}
    lines = "\n".join(f"{name} {files[name]}" for name in sorted(files) if not name.endswith(".md"))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def _is_open(path: Path) -> bool:
    needed = 0o005 if path.is_dir() else 0o004
    return path.stat().st_mode & needed == needed
