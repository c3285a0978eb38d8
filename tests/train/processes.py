"""Run trainings with several processes each, from one that has loaded the libraries already.

python processes.py RUNS.json    RUNS: [{"processes": 2, "fsdp": false, "arguments": ["train", ...]}]

`accelerate launch` does the same with new processes, which takes several times as long.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import matplotlib.figure

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.train import plots, results, sharing, stage, trainer

LOADED = (matplotlib.figure, plots, results, sharing, stage, trainer)
FSDP = Path(stage.__file__).parent / "launch" / "fsdp.yml"


def run(processes: int, fsdp: bool, arguments: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    children = []
    for rank in range(processes):
        child = os.fork()
        if not child:
            if processes > 1:
                os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
            os._exit(work(fsdp, arguments))
        children.append(child)
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(failed):
        sys.exit(f"{arguments} with {processes} processes: {failed}")


def work(fsdp: bool, arguments: list[str]) -> int:
    try:
        if fsdp:
            divide_on_cpu()
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()


def divide_on_cpu() -> None:
    """Set up what the configuration for FSDP says. accelerate has it for GPUs only; it takes the CPU for one here."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import DistributedType
    from ruamel.yaml import YAML

    config: dict[str, Any] = YAML(typ="safe").load(FSDP)["fsdp_config"]
    os.environ.update({name.upper(): str(value) for name, value in config.items()})
    os.environ.update(ACCELERATE_USE_FSDP="true", ACCELERATE_TORCH_DEVICE="cpu")
    torch.distributed.init_process_group("gloo")
    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)


if __name__ == "__main__":
    gc.freeze()  # what all have, none looks through
    for given in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        run(**given)
