"""Kubernetes: a Deployment with its volume, Service and NetworkPolicy, and a script that brings the model there.

The pod waits, in its init container, until the model lies in the volume. So the volume is made where the pod can run,
and a volume that has the model already is not loaded again.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rasa_ft_ext.model_server.settings import API_KEY_VARIABLE
from rasa_ft_ext.serve.deployment.plan import CACHE, GROUP, HEALTH, USER, Plan
from rasa_ft_ext.serve.deployment.text import dollars, header, quoted, render, yaml_with_notes

FILE, SCRIPT = "server.yaml", "load-model.sh"
WAITING = "wait-for-model"
COMPLETE = "complete"  # the file beside the model that says that all of it is there

Object = dict[str, Any]


def files(plan: Plan) -> dict[str, str]:
    """The files by their names."""
    objects = [_volume(plan), _network(plan), _service(plan), _deployment(plan)]
    script = render(SCRIPT, plan=plan, header=header("kubernetes"), waiting=WAITING, complete=COMPLETE)
    return {FILE: yaml_with_notes("kubernetes", *objects), SCRIPT: script}


def steps(plan: Plan, folder: Path) -> list[str]:
    key = f'kubectl create secret generic {secret(plan)} --from-literal={API_KEY_VARIABLE}="$(openssl rand -hex 32)"'
    apply = f"kubectl apply --filename {shlex.quote(str(folder / FILE))}"
    return [*([key] if plan.key else []), apply, shlex.quote(str(folder / SCRIPT))]


def secret(plan: Plan) -> str:
    return f"{plan.name}-key"


def base_url(plan: Plan) -> str:
    """Where pods of the same namespace reach it."""
    return f"http://{plan.name}:{plan.port}/v1"


def _labels(plan: Plan) -> dict[str, str]:
    return {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": plan.name}


def _object(plan: Plan, api: str, kind: str, spec: Object) -> Object:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": plan.name, "labels": _labels(plan)},
        "spec": spec,
    }


def _volume(plan: Plan) -> Object:
    return _object(
        plan,
        "v1",
        "PersistentVolumeClaim",
        {
            "# The cluster's default class of storage, unless you name one: storageClassName.": None,
            "accessModes": ["ReadWriteOnce"],
            "# For two versions of the model: the earlier one stays, for a way back.": None,
            "resources": {"requests": {"storage": f"{plan.disk_gib}Gi"}},
        },
    )


def _network(plan: Plan) -> Object:
    return _object(
        plan,
        "networking.k8s.io/v1",
        "NetworkPolicy",
        {
            "podSelector": {"matchLabels": _labels(plan)},
            "policyTypes": ["Ingress", "Egress"],
            "# Pods of this namespace may call. If the assistant runs in another, add a namespaceSelector.": None,
            "ingress": [
                {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": plan.port}]},
            ],
            "# The server itself calls nobody.": None,
            "egress": [],
        },
    )


def _service(plan: Plan) -> Object:
    port = {"name": "http", "protocol": "TCP", "port": plan.port, "targetPort": "http"}
    return _object(plan, "v1", "Service", {"type": "ClusterIP", "selector": _labels(plan), "ports": [port]})


def _deployment(plan: Plan) -> Object:
    return _object(
        plan,
        "apps/v1",
        "Deployment",
        {
            "replicas": 1,
            "# One GPU and one volume do not serve two pods at a time: the old one goes first.": None,
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": 3600,
            "selector": {"matchLabels": _labels(plan)},
            "template": {"metadata": {"labels": _labels(plan)}, "spec": _pod(plan)},
        },
    )


def _pod(plan: Plan) -> Object:
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "# On OpenShift leave runAsUser, runAsGroup and fsGroup away: it gives them itself.": None,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": GROUP,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"tolerations": [gpu]} if plan.on_gpu else {}),
        "initContainers": [_waiting(plan)],
        "containers": [_server(plan)],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": plan.name}},
            {"name": "cache", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        ],
    }


def _waiting(plan: Plan) -> Object:
    done = f"{plan.inside}/{COMPLETE}"
    wait = f"echo 'Waiting for {SCRIPT} to bring the model.'; until [ -e {done} ]; do sleep 2; done"
    small = {"cpu": quoted("100m"), "memory": "256Mi"}
    return {
        "name": WAITING,
        "image": quoted(plan.image),
        "command": ["/bin/sh", "-c", quoted(f"trap 'exit 143' TERM; {wait}")],
        "resources": {"requests": small, "limits": {**small, "cpu": quoted("1")}},
        "securityContext": _locked(),
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }


def _server(plan: Plan) -> Object:
    environment: list[Object] = [{"name": name, "value": dollars(value)} for name, value in plan.environment.items()]
    if plan.key:
        reference = {"name": secret(plan), "key": API_KEY_VARIABLE}
        environment.append({"name": API_KEY_VARIABLE, "valueFrom": {"secretKeyRef": reference}})
    return {
        "name": "vllm",
        "image": quoted(plan.image),
        "command": ["vllm", "serve"],
        "args": [dollars(argument) for argument in plan.serve_arguments()],
        "env": environment,
        "ports": [{"name": "http", "containerPort": plan.port, "protocol": "TCP"}],
        **_probes(),
        "resources": _resources(plan),
        "securityContext": _locked(),
        "volumeMounts": [
            {"name": "models", "mountPath": "/models", "readOnly": True},
            {"name": "cache", "mountPath": CACHE},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _probes() -> Object:
    health = {"httpGet": {"path": HEALTH, "port": "http"}}
    return {
        "# vLLM listens when the weights are loaded; it may take half an hour for that.": None,
        "startupProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 360},
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**health, "periodSeconds": 15, "timeoutSeconds": 10, "failureThreshold": 4},
    }


def _resources(plan: Plan) -> Object:
    memory = f"{plan.memory_gib + 2}Gi"  # what is in /dev/shm counts
    needed = {"cpu": quoted("4"), "memory": memory}
    most: Object = {"memory": memory} | ({"nvidia.com/gpu": plan.gpus} if plan.on_gpu else {})
    return {"# Reckoned from the size of the weights.": None, "requests": needed, "limits": most}


def _locked() -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
