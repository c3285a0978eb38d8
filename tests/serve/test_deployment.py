"""Deployment files: what the tools themselves say of them, and what the scripts do, with stand-ins for the daemons."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.errors import ConfigError, ServeError
from rasa_ft_ext.finetuned import TrainFacts, write_manifest
from rasa_ft_ext.model_server.settings import ServeSettings
from rasa_ft_ext.serve import deployment
from rasa_ft_ext.serve.deployment import KINDS, VARIANTS, Deployment, write_deployment
from rasa_ft_ext.serve.deployment.plan import VLLM_VERSION, make_plan
from rasa_ft_ext.serve.deployment.systemd import PYTHON

BIN = Path(sys.executable).parent
ODD = "my \"cars\" & 'more' $HOME $(id) ${X} $$ 100% %%h \\ #1: é"
UNIT = "rasa-ft-cars.service"
KEY = "a-key-that-nobody-may-read"

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
each_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs_systemd) if kind == "systemd" else kind for kind in KINDS]
)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A folder such as `rasa-ft train` leaves, and a base beside it, in a place with an odd name."""
    folder = tmp_path / "it's $HOME" / "finetuned"
    for part, files in {
        "merged": ("README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
        "adapter": ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"),
        "../base": ("config.json", "model.safetensors", "tokenizer.json"),
    }.items():
        (folder / part).mkdir(parents=True)
        for name in files:
            (folder / part / name).write_text(f"{name} of {part}", encoding="utf-8")
    return folder


@pytest.fixture
def merged(training: Path) -> ServeSettings:
    return ServeSettings(model=str(training / "merged"), name="cars", max_model_len=4096, api_key=KEY)


@pytest.fixture
def adapter(training: Path, merged: ServeSettings) -> ServeSettings:
    """As `rasa-ft serve finetuned_model/adapter` has it: tokenizer and end of answers are not the base's."""
    return replace(
        merged,
        model=str(training / "../base"),
        lora=str(training / "adapter"),
        lora_rank=32,
        tokenizer=str(training / "adapter"),
        generation_config=str(training / "merged"),
    )


def lint(kind: str, paths: list[Path]) -> str:
    """What the tools of a kind complain of."""
    scripts = [path for path in paths if path.suffix == ".sh"]
    found = _run([BIN / "shellcheck", *scripts]) if scripts else ""
    others = [path for path in paths if path not in scripts and not path.name.startswith(".")]
    if kind == "docker":
        return found + (_run([BIN / "hadolint", *others]) if others else "")
    if kind == "compose":
        return found + _run([BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *others])
    if kind == "kubernetes":
        return found + _run([BIN / "kubernetes-validate", "--strict", *others])
    return found + "".join(map(_verify, others))


def _verify(unit: Path) -> str:
    """What systemd says of a unit on a machine on which the Python that it names is there."""
    there = unit.with_name(f"checked-{unit.name}")
    there.write_text(unit.read_text(encoding="utf-8").replace(PYTHON, sys.executable), encoding="utf-8")
    security = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=36", there]
    verify = ["systemd-analyze", "verify", "--man=no", there]
    told = subprocess.run(verify, capture_output=True, text=True, timeout=120).stderr.splitlines()  # of other units too
    return "\n".join(line for line in told if there.name in line) + _run(security)


def _run(command: list[Any]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr if done.returncode else ""


@each_kind
def test_every_file_passes_the_linter_of_its_tool(
    kind: str, tmp_path: Path, merged: ServeSettings, adapter: ServeSettings
) -> None:
    paths: list[Path] = []
    for variant in VARIANTS:
        for settings in (adapter, replace(merged, name=ODD)):
            for key in (True, False):
                folder = tmp_path / f"{variant}-{settings.name[:3].strip()}-{key}"
                paths += write_deployment(kind, folder, settings, variant=variant, key=key).files
    assert lint(kind, paths) == ""


@pytest.mark.parametrize(
    ("kind", "file", "right", "wrong", "complaint"),
    [
        ("docker", "Dockerfile", "USER 2000:0", "USER root", "DL3002"),
        ("docker", "Dockerfile", ":v0.32.0", ":latest", "DL3007"),
        ("docker", "run.sh", '"$here/key.env"', "$here/key.env", "SC2206"),
        ("compose", "compose.yaml", "read_only: true", "readonly: true", "readonly"),
        ("kubernetes", "server.yaml", "failureThreshold: 3\n", "failureTreshold: 3\n", "failureTreshold"),
        pytest.param("systemd", UNIT, "Restart=always", "Restart=often", "often", marks=needs_systemd),
        pytest.param("systemd", UNIT, "DynamicUser=yes", "User=root", "Overall exposure", marks=needs_systemd),
    ],
)
def test_the_linters_see_a_mistake(
    kind: str, file: str, right: str, wrong: str, complaint: str, tmp_path: Path, merged: ServeSettings
) -> None:
    path = write_deployment(kind, tmp_path / "out", merged).files
    spoilt = next(entry for entry in path if entry.name == file)
    text = spoilt.read_text(encoding="utf-8")
    assert right in text
    spoilt.write_text(text.replace(right, wrong), encoding="utf-8")
    assert complaint in lint(kind, [spoilt])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_versions_are_pinned_and_keys_only_referred_to(
    kind: str, variant: str, tmp_path: Path, merged: ServeSettings
) -> None:
    text = all_of(write_deployment(kind, tmp_path / "keyed", merged, variant=variant))
    assert KEY not in text
    assert "latest" not in text
    assert "0.32.0" in text
    assert "VLLM_API_KEY" in text
    assert "VLLM_API_KEY" not in all_of(write_deployment(kind, tmp_path / "open", merged, variant=variant, key=False))


@pytest.mark.parametrize("kind", ["docker", "compose", "kubernetes", "systemd"])
def test_odd_names_come_back_as_they_were(kind: str, tmp_path: Path, merged: ServeSettings) -> None:
    settings = replace(merged, name=ODD, extra=("--seed", "1e3"))
    files = write_deployment(kind, tmp_path / "out", settings).files
    assert arguments_of(kind, files)[-4:] == ["--served-model-name", ODD, "--seed", "1e3"]


@pytest.mark.parametrize("kind", ["docker", "compose", "kubernetes", "systemd"])
def test_an_adapter_goes_with_its_base_its_tokenizer_and_its_end_of_answers(
    kind: str, tmp_path: Path, adapter: ServeSettings
) -> None:
    written = write_deployment(kind, tmp_path / "out", adapter)
    given = arguments_of(kind, written.files)
    root = given[given.index("--tokenizer") + 1].removesuffix("/adapter")
    assert f"{root}/model" in given
    assert given[given.index("--generation-config") + 1] == f"{root}/generation"
    assert given[given.index("--lora-modules") + 1] == f"cars={root}/adapter"
    assert given[given.index("--max-lora-rank") + 1] == "32"
    assert str(tmp_path) not in " ".join(given)


def arguments_of(kind: str, files: tuple[Path, ...]) -> list[str]:
    """The arguments that vLLM gets, as the tool of that kind reads them."""
    text = next(path for path in files if not path.name.startswith(".") and path.suffix != ".sh").read_text("utf-8")
    if kind == "docker":
        return list(json.loads(text.rpartition("\nCMD ")[2]))
    if kind == "systemd":
        line = text.replace("\\\n", "").partition("ExecStart=")[2].partition("\n")[0]
        return shlex.split(line.replace("%%", "%").replace("$$", "$"))
    if kind == "compose":
        return [word.replace("$$", "$") for word in YAML(typ="safe").load(text)["services"]["vllm"]["command"]]
    [server] = list(YAML(typ="safe").load_all(text))[-1]["spec"]["template"]["spec"]["containers"]
    return [word.replace("$$", "$") for word in server["args"]]


def all_of(written: Deployment) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in written.files)


def test_a_pod_takes_calls_when_the_model_is_loaded_and_may_do_nothing_else(
    tmp_path: Path, merged: ServeSettings
) -> None:
    settings = replace(merged, port=9000, extra=("-tp", "2"))
    text = write_deployment("kubernetes", tmp_path / "out", settings).files[0].read_text(encoding="utf-8")
    claim, network, service, deployed = YAML(typ="safe").load_all(text)
    pod = deployed["spec"]["template"]["spec"]
    [server] = pod["containers"]
    assert {server[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")} == {"/health"}
    assert server["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert server["ports"][0]["containerPort"] == service["spec"]["ports"][0]["port"] == 9000
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert all(entry["securityContext"]["readOnlyRootFilesystem"] for entry in (*pod["initContainers"], server))
    mounts = {mount["name"]: mount for mount in server["volumeMounts"]}
    assert mounts["models"]["readOnly"] is True
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert network["spec"]["egress"] == []
    [key] = [entry for entry in server["env"] if entry["name"] == "VLLM_API_KEY"]
    assert key["valueFrom"]["secretKeyRef"] == {"name": "rasa-ft-cars-key", "key": "VLLM_API_KEY"}


def test_without_a_gpu_none_is_asked_for(tmp_path: Path, merged: ServeSettings) -> None:
    for kind in KINDS:
        text = all_of(write_deployment(kind, tmp_path / kind, merged, variant="cpu"))
        assert not {"--gpus", "nvidia", "nvidia.com/gpu", "vllm/vllm-openai"} & set(re.split(r"[\s:,]+", text))
        assert "VLLM_CPU_KVCACHE_SPACE" in text


def test_on_the_cpu_vllm_is_told_what_serve_tells_it_unless_someone_wants_otherwise(merged: ServeSettings) -> None:
    settings = replace(merged, extra=("--no-enforce-eager",))
    arguments = {
        variant: make_plan("docker", settings, variant=variant, image=None, key=True).serve_arguments()
        for variant in VARIANTS
    }
    assert arguments["cpu"][-4:] == ["--enforce-eager", "--block-size", "32", "--no-enforce-eager"]
    assert not {"--enforce-eager", "--block-size"} & set(arguments["gpu"])


def test_the_version_is_the_one_that_is_tested() -> None:
    tested = Path(__file__).parents[2] / "scripts" / "vllm-cpu.txt"
    assert f"vllm-cpu=={VLLM_VERSION}" in tested.read_text(encoding="utf-8").splitlines()


def test_a_container_is_published_where_the_settings_say(tmp_path: Path, merged: ServeSettings) -> None:
    [port] = compose_service(write_deployment("compose", tmp_path / "own", merged))["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8000", 8000)
    wide = write_deployment("docker", tmp_path / "wide", replace(merged, host="::", port=81))
    assert '--publish "[::]:81:81"' in all_of(wide)
    assert wide.base_url == "http://[::1]:81/v1"


def compose_service(written: Deployment) -> Any:
    return YAML(typ="safe").load(written.files[0].read_text(encoding="utf-8"))["services"]["vllm"]


def test_a_mounted_model_that_others_cannot_read_is_named_first(tmp_path: Path, merged: ServeSettings) -> None:
    weights = Path(merged.model) / "model.safetensors"
    assert not write_deployment("compose", tmp_path / "open", merged).steps[0].startswith("chmod")
    weights.chmod(0o600)
    step = write_deployment("compose", tmp_path / "closed", merged).steps[0]
    subprocess.run(["bash", "-c", step], check=True)
    assert weights.stat().st_mode & 0o777 == 0o644


def test_the_tag_is_the_training_s_hash_and_follows_the_weights(training: Path, merged: ServeSettings) -> None:
    facts = TrainFacts(name="cars", base_model="base", data_hash="d", train_rows=1, validation_rows=1)
    before = make_plan("docker", merged, variant="gpu", image=None, key=True).tag
    assert write_manifest(training, facts).model_hash.startswith(before)
    (training / "merged" / "model.safetensors").write_bytes(b"other")
    assert make_plan("docker", merged, variant="gpu", image=None, key=True).tag != before


def test_all_that_cannot_be_deployed_is_said_at_once(tmp_path: Path) -> None:
    settings = ServeSettings(
        model="org/base", name="a=b\n", lora=str(tmp_path), port=0, host="here", extra=("--api-key=x",)
    )
    with pytest.raises(ConfigError) as caught:
        write_deployment("compose", tmp_path / "out", settings, variant="tpu", image="mirror:5000/vllm")
    told = " ".join(caught.value.problems)
    for what in ("'tpu'", "hf download org/base", "--port", "'='", "--api-key", "one line", "'here'", "NAME:VERSION"):
        assert what in told
    assert len(caught.value.problems) == 8
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="docker, compose, kubernetes, systemd"):
        write_deployment("helm", tmp_path / "out", settings)


@pytest.mark.parametrize("extra", [("-tp", "two"), ("--tensor-parallel-size=x",), ("-tp",)])
def test_a_number_of_gpus_that_is_none_is_a_problem(
    extra: tuple[str, ...], tmp_path: Path, merged: ServeSettings
) -> None:
    with pytest.raises(ConfigError, match="how many GPUs"):
        write_deployment("kubernetes", tmp_path / "out", replace(merged, extra=extra))


def test_names_in_other_scripts_stay_apart(merged: ServeSettings) -> None:
    names = {
        make_plan("docker", replace(merged, name=name), variant="gpu", image=None, key=True).name
        for name in ("模型一", "模型二", "Cars_v2")
    }
    assert len(names) == 3
    assert "rasa-ft-cars-v2" in names
    assert all(re.fullmatch(r"rasa-ft-[a-z0-9-]+", name) for name in names)


@pytest.mark.parametrize("image", ["mirror:5000/vllm", "vllm:latest", "mirror/vllm:latest", "a b:1"])
def test_an_image_without_a_version_is_refused(image: str, tmp_path: Path, merged: ServeSettings) -> None:
    with pytest.raises(ConfigError):
        write_deployment("compose", tmp_path / "out", merged, image=image)


@pytest.mark.parametrize("image", ["mirror:5000/vllm:v1", "vllm@sha256:abc", "vllm/vllm-openai-cpu:v0.32.0-arm64"])
def test_another_image_is_taken_as_it_is(image: str, tmp_path: Path, merged: ServeSettings) -> None:
    assert compose_service(write_deployment("compose", tmp_path / "out", merged, image=image))["image"] == image


def test_other_peoples_files_stay(tmp_path: Path, merged: ServeSettings) -> None:
    (tmp_path / "run.sh").write_text("mine", encoding="utf-8")
    with pytest.raises(ServeError, match=r"run\.sh.*--force"):
        write_deployment("docker", tmp_path, merged)
    assert not (tmp_path / "Dockerfile").exists()
    written = write_deployment("docker", tmp_path, merged, force=True)
    assert write_deployment("docker", tmp_path, merged) == written
    assert (tmp_path / "run.sh").stat().st_mode & 0o111


def test_files_appear_together_or_not_at_all(
    tmp_path: Path, merged: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def full(path: Path, *args: Any, **options: Any) -> int:
        if "run.sh" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ServeError, match="No space left"):
        write_deployment("docker", tmp_path / "out", merged)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a script in the place of a command and says where it notes its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, body: str = "") -> Path:
        notes = tmp_path / f"{name}.args"
        noting = f"{{ printf '%s\\0' \"$@\"; echo; }} >> {shlex.quote(str(notes))}"
        (folder / name).write_text(f"#!/bin/bash\n{noting}\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
        return notes

    return put


def calls(notes: Path) -> Iterator[list[str]]:
    for line in notes.read_text(encoding="utf-8").splitlines():
        yield line.split("\0")[:-1]


def run_script(path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([path, *args], capture_output=True, text=True, timeout=60)


def test_the_image_is_built_from_the_folders_and_run_with_the_key(
    tmp_path: Path, adapter: ServeSettings, training: Path, stand_in: Callable[..., Path]
) -> None:
    notes = stand_in("docker")
    folder = tmp_path / "out"
    write_deployment("docker", folder, adapter)
    assert run_script(folder / "build.sh").returncode == 0
    [build] = calls(notes)
    assert f"adapter={training / 'adapter'}" in build
    assert build[-1] == str(folder)

    missing = run_script(folder / "run.sh")
    assert missing.returncode == 1
    assert "openssl rand" in missing.stderr
    (folder / "key.env").write_text("VLLM_API_KEY=x", encoding="utf-8")
    assert run_script(folder / "run.sh").returncode == 0
    run = list(calls(notes))[-1]
    assert run[run.index("--env-file") + 1] == str(folder / "key.env")
    assert run[run.index("--gpus") + 1] == "1"
    assert run[-1] == build[build.index("--tag") + 1]


# Runs what `kubectl exec` should run in the pod on this machine, in a folder that stands for the volume.
KUBECTL = """
case " $* " in
  *" get pods "*) echo pod/one ;;
  *" get "*) echo "{\\"$(cat "$VOLUME/state")\\":{}}" ;;
  *" exec "*) while [[ $1 != -- ]]; do shift; done; shift; "${@//\\/models/$VOLUME}" ;;
esac
"""


def test_the_model_arrives_in_the_volume_once_and_whole(
    tmp_path: Path, adapter: ServeSettings, stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = stand_in("kubectl", KUBECTL)
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "state").write_text("running", encoding="utf-8")
    monkeypatch.setenv("VOLUME", str(volume))
    folder = tmp_path / "out"
    write_deployment("kubernetes", folder, adapter)
    done = run_script(folder / "load-model.sh", "--namespace", "assistant")
    assert done.returncode == 0, done.stderr
    [there] = [path for path in volume.iterdir() if path.is_dir()]
    arrived = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert arrived == {
        *("model/config.json", "model/model.safetensors", "model/tokenizer.json"),
        *("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/tokenizer.json"),
        *("generation/generation_config.json", "complete"),
    }
    made = list(calls(notes))
    assert all(call[:2] == ["--namespace", "assistant"] for call in made)
    touched = next(number for number, call in enumerate(made) if "touch" in call)
    assert not any("tar" in call for call in made[touched:])

    notes.unlink()
    assert run_script(folder / "load-model.sh").returncode == 0
    assert not any("tar" in call for call in calls(notes))


def test_half_a_model_is_not_called_complete(
    tmp_path: Path, merged: ServeSettings, stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("kubectl", KUBECTL)
    stand_in("tar", "[[ $1 == -x ]] && exec cat; exit 1")
    (tmp_path / "state").write_text("running", encoding="utf-8")
    monkeypatch.setenv("VOLUME", str(tmp_path))
    write_deployment("kubernetes", tmp_path / "out", merged)
    assert run_script(tmp_path / "out" / "load-model.sh").returncode == 1
    assert not list(tmp_path.glob("*/complete"))


def test_the_unit_is_installed_with_its_model_and_a_key_of_its_own(
    tmp_path: Path, merged: ServeSettings, stand_in: Callable[..., Path]
) -> None:
    systemctl = stand_in("systemctl")
    stand_in("g++")
    root = tmp_path / "root"
    (root / "etc/systemd/system").mkdir(parents=True)
    python = root / "opt/rasa-ft/vllm/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(shutil.which("true") or "/bin/true")
    Path(merged.model, "model.safetensors").chmod(0o600)
    folder = tmp_path / "out"
    write_deployment("systemd", folder, merged)
    script = folder / "install.sh"
    text = script.read_text(encoding="utf-8")
    for place in ("/opt/rasa-ft", "/etc/rasa-ft", "/etc/systemd"):
        text = text.replace(place, f"{root}{place}")
    script.write_text(text, encoding="utf-8")

    first = run_script(script)
    assert first.returncode == 0, first.stderr
    [weights] = root.glob("opt/rasa-ft/rasa-ft-cars/*/model/model.safetensors")
    assert weights.stat().st_mode & 0o777 == 0o644
    [key] = root.glob("etc/rasa-ft/*.env")
    assert len(key.read_text(encoding="utf-8")) == len("VLLM_API_KEY=\n") + 64
    assert key.stat().st_mode & 0o777 == 0o600
    assert (root / "etc/systemd/system/rasa-ft-cars.service").is_file()
    assert ["restart", "rasa-ft-cars.service"] in list(calls(systemctl))

    before = key.read_bytes()
    assert run_script(script).returncode == 0
    assert key.read_bytes() == before


def test_the_command_writes_the_files_and_says_what_comes_next(
    training: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        (training / "merged" / name).write_text("{}", encoding="utf-8")
    (training / "merged" / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code = main(["serve", str(training / "merged"), "--served-model-name", "cars", "--write", "compose", "out"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.out.split() == ["out/compose.yaml", "out/.gitignore"]
    assert "docker compose --file out/compose.yaml up" in shown.err
    assert "http://127.0.0.1:8000/v1" in shown.err


def test_templates_are_part_of_the_package() -> None:
    folder = Path(deployment.__file__).parent / "templates"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.jinja2" for name in ("Dockerfile", "build.sh", "run.sh", "load-model.sh", "install.sh", "unit.service")
    }
