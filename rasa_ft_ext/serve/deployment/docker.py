"""An image with the model in it, and a script that runs it."""

from __future__ import annotations

import shlex
from pathlib import Path

from rasa_ft_ext.serve.deployment.plan import CACHE, GROUP, HEALTH, USER, Plan, published_at
from rasa_ft_ext.serve.deployment.text import header, render

KEY_FILE = "key.env"
MAKE_KEY = '(umask 077 && echo "VLLM_API_KEY=$(openssl rand -hex 32)" > {path})'


def files(plan: Plan) -> dict[str, str]:
    """The files by their names."""
    values = {
        "plan": plan,
        "header": header("docker"),
        "tagged": f"{plan.name}:{plan.tag}",
        "health": health_command(plan.port),
        "key_file": KEY_FILE,
        "make_key": MAKE_KEY.format(path=KEY_FILE),
        "published": _published(plan),
        "cache": CACHE,
        "user": USER,
        "group": GROUP,
    }
    texts = {name: render(name, **values) for name in ("Dockerfile", "build.sh", "run.sh")}
    texts[".dockerignore"] = (
        f"{header('docker')}\n# The model comes by a context of its own; nothing else goes in.\n*\n"
    )
    return texts | ignored_key(plan, "docker")


def steps(plan: Plan, folder: Path) -> list[str]:
    key = [MAKE_KEY.format(path=shlex.quote(str(folder / KEY_FILE)))] if plan.key else []
    return [
        shlex.quote(str(folder / "build.sh")),
        *key,
        shlex.quote(str(folder / "run.sh")),
        f"docker logs --follow {plan.name}",
    ]


def ignored_key(plan: Plan, kind: str) -> dict[str, str]:
    """What keeps the key out of a repository."""
    return {".gitignore": f"{header(kind)}\n{KEY_FILE}\n"} if plan.key else {}


def base_url(plan: Plan) -> str:
    """Where callers on the same machine reach the container."""
    host = published_at(plan.settings.host)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{plan.port}/v1"


def health_command(port: int) -> list[str]:
    """Asks vLLM whether it serves, with what every image of it has."""
    url = f"http://127.0.0.1:{port}{HEALTH}"
    code = f"import urllib.request as u; u.build_opener(u.ProxyHandler({{}})).open('{url}', timeout=5)"
    return ["python3", "-c", code]


def _published(plan: Plan) -> str:
    host = published_at(plan.settings.host)
    return f"{f'[{host}]' if ':' in host else host}:{plan.port}:{plan.port}"
