"""A Compose file: vLLM's own image, the model's folder mounted read-only."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rasa_ft_ext.serve.deployment.docker import KEY_FILE, MAKE_KEY, health_command, ignored_key
from rasa_ft_ext.serve.deployment.plan import CACHE, GROUP, USER, Part, Plan, published_at
from rasa_ft_ext.serve.deployment.text import dollars, quoted, yaml_with_notes

FILE = "compose.yaml"


def files(plan: Plan) -> dict[str, str]:
    """The files by their names."""
    document = {
        "name": plan.name,
        "services": {
            f"# Other services of this file reach it at http://vllm:{plan.port}/v1.": None,
            "vllm": _service(plan),
        },
    }
    return {FILE: yaml_with_notes("compose", document)} | ignored_key(plan, "compose")


def steps(plan: Plan, folder: Path) -> list[str]:
    readable = [f"chmod -R a+rX {shlex.quote(str(part.path))}" for part in plan.parts if not part.is_readable()]
    key = [MAKE_KEY.format(path=shlex.quote(str(folder / KEY_FILE)))] if plan.key else []
    return [*readable, *key, f"docker compose --file {shlex.quote(str(folder / FILE))} up --detach --wait"]


def _service(plan: Plan) -> dict[str, Any]:
    return {
        "image": quoted(plan.image),
        "command": [dollars(argument) for argument in plan.serve_arguments()],
        "environment": {name: quoted(value) for name, value in plan.environment.items()},
        **_key(plan),
        "# 127.0.0.1 lets in this machine only, 0.0.0.0 everybody.": None,
        "ports": [
            {
                "target": plan.port,
                "published": quoted(str(plan.port)),
                "host_ip": quoted(published_at(plan.settings.host)),
                "protocol": "tcp",
            }
        ],
        "# What lies on this machine; every user must be able to read them.": None,
        "volumes": [_mounted(plan, part) for part in plan.parts],
        **_devices(plan),
        "shm_size": "2gb",
        "init": True,
        "restart": "unless-stopped",
        "stop_grace_period": "1m",
        "# vLLM listens when the weights are loaded; loading and compiling a large model takes minutes.": None,
        "healthcheck": {
            "test": ["CMD", *map(dollars, health_command(plan.port))],
            "interval": "15s",
            "timeout": "10s",
            "retries": 4,
            "start_period": "20m",
        },
        "# Not root, and nothing can be written but temporary files and compiled kernels.": None,
        "user": quoted(f"{USER}:{GROUP}"),
        "read_only": True,
        "tmpfs": [
            quoted("/tmp:exec,mode=1777"),
            quoted(f"{CACHE}:exec,mode=0770,uid={USER},gid={GROUP}"),
        ],
        "cap_drop": ["ALL"],
        "security_opt": [quoted("no-new-privileges:true")],
        "logging": {"driver": "local"},
    }


def _key(plan: Plan) -> dict[str, Any]:
    if not plan.key:
        return {}
    return {
        "# VLLM_API_KEY=<the key that callers must show>; the file stays on this machine.": None,
        "env_file": [KEY_FILE],
    }


def _devices(plan: Plan) -> dict[str, Any]:
    if not plan.on_gpu:
        return {}
    device = {"driver": "nvidia", "count": plan.gpus, "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}


def _mounted(plan: Plan, part: Part) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": dollars(str(part.path)),
        "target": "/".join(filter(None, (plan.inside, part.name, part.file))),
        "read_only": True,
        "bind": {"create_host_path": False},
    }
