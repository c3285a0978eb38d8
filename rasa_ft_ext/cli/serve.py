"""`serve`: start a model server, and run it until it is told to stop."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import REMAINDER, ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import arguments, output, values

if TYPE_CHECKING:
    from rasa_ft_ext.model_server.base import ModelServer
    from rasa_ft_ext.model_server.settings import ServeSettings

# The flags that count only where a server is started, and only where files are written, with their defaults.
_STARTING = {"engine": "vllm", "vllm": None, "timeout": 600.0, "api_key_env": None}
_WRITING = {"variant": "gpu", "image": None, "no_key": False, "force": False}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="Folder that `rasa-ft train` wrote, the adapter/ in it, any model's folder, or a name on the hub.",
    )
    arguments.add_project(parser)
    parser.add_argument("--lora", metavar="DIR", help="Serve the adapter in DIR on the model, without merging it.")
    _add_engine(parser)
    _add_address(parser)
    _add_deployment(parser)
    group = parser.add_argument_group("Model")
    group.add_argument("--served-model-name", metavar="NAME", help="Name to serve it under (default: the training's).")
    types = ("auto", "bfloat16", "float16", "float32")
    group.add_argument("--dtype", choices=types, help="Type of the weights (default: that of the files).")
    group.add_argument(
        "--max-model-len",
        type=values.positive_int,
        metavar="N",
        help="Most tokens of prompt and answer together (default: twice what the training's data needs).",
    )
    group.add_argument(
        "--no-prefix-caching",
        dest="prefix_caching",
        action="store_false",
        help="Compute every prompt anew, also what it has in common with others.",
    )


def _add_engine(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Engine")
    group.add_argument("--engine", choices=("vllm", "transformers"), default="vllm", help="What serves it.")
    group.add_argument(
        "--vllm",
        metavar="PATH",
        help="Python of the environment that has vLLM, or its vllm command (default: the one on the PATH).",
    )
    group.add_argument(
        "--vllm-args",
        nargs=REMAINDER,
        default=[],
        metavar="ARGS",
        help="More arguments for vLLM: everything behind this one, so put it last.",
    )
    group.add_argument(
        "--timeout", type=values.seconds, default=600.0, metavar="SECONDS", help="Time that it has until it answers."
    )


def _add_address(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Address")
    group.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    group.add_argument("--port", type=values.port, default=8000, help="Port to listen on; 0 picks a free one.")
    group.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="Environment variable with the key that callers must show (default: VLLM_API_KEY, if that is set).",
    )


def _add_deployment(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Deployment", "Write files that run the model elsewhere, and start nothing here.")
    group.add_argument(
        "--write",
        nargs=2,
        metavar=("KIND", "DIR"),
        help="Write the files of a deployment into DIR: docker, compose, kubernetes or systemd.",
    )
    group.add_argument("--variant", choices=("gpu", "cpu"), default="gpu", help="What the model runs on there.")
    group.add_argument("--image", metavar="NAME:VERSION", help="Image of vLLM to use (default: the official one).")
    group.add_argument("--no-key", action="store_true", help="Let everybody call who reaches the server.")
    group.add_argument("--force", action="store_true", help="Replace files in DIR that say something else.")


def run(args: Namespace) -> int:
    from rasa_ft_ext.model_server.settings import API_KEY_VARIABLE
    from rasa_ft_ext.serve import stage
    from rasa_ft_ext.serve.model import find_model

    _refuse_what_is_of_no_use(args)
    found = find_model(args.model, lora=args.lora, project=Path(args.project))
    settings = stage.settings_of(
        found,
        name=args.served_model_name,
        host=args.host,
        port=args.port,
        dtype=args.dtype,
        max_model_len=args.max_model_len,
        prefix_caching=args.prefix_caching,
        api_key=None if args.write else stage.read_api_key(args.api_key_env),
        extra=args.vllm_args,
    )
    if args.write:
        return _write(args, settings, found.notes)
    server = stage.make_server(settings, engine=args.engine, vllm=args.vllm, timeout=args.timeout)
    for note in (*found.notes, *stage.open_doors(settings)):
        _tell(note)
    _tell(f"Starting {settings.name} with {args.engine}; the first answer may take minutes.")
    options = ["--project", args.project] if Path(args.project) != Path() else []
    options += ["--model-folder", os.path.relpath(found.training, args.project)] if found.training else []
    options += ["--api-key-env", args.api_key_env or API_KEY_VARIABLE] if settings.api_key else []
    try:
        stage.run_until_stopped(server, partial(_announce, options))
    except KeyboardInterrupt:
        _tell("Stopped before it answered.")
        return output.INTERRUPTED
    return 0


def _refuse_what_is_of_no_use(args: Namespace) -> None:
    """Refuse flags for a server where files are written, and flags for files where a server is started."""
    from rasa_ft_ext.errors import ConfigError

    said = vars(args)
    flags = _STARTING if args.write else _WRITING
    why = "--write starts no server, and its files run vLLM" if args.write else "only --write has a use for it"
    useless = [name for name, usual in flags.items() if said[name] != usual]
    if useless:
        raise ConfigError("arguments", [f"--{name.replace('_', '-')}: {why}. Leave it out." for name in useless])


def _write(args: Namespace, settings: ServeSettings, notes: tuple[str, ...]) -> int:
    from rasa_ft_ext.serve.deployment import write_deployment

    kind, folder = args.write
    written = write_deployment(
        kind, folder, settings, variant=args.variant, image=args.image, key=not args.no_key, force=args.force
    )
    for path in written.files:
        print(path)
    for line in (*notes, "Next, in this order:", *(f"  {step}" for step in written.steps)):
        _tell(line)
    _tell(f"Then '{settings.name}' answers at {written.base_url}")
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _announce(options: list[str], server: ModelServer) -> None:
    """The address alone on stdout, so that a script can read it; what to do with it on stderr."""
    print(server.base_url, flush=True)
    _tell(f"'{server.name}' answers there. Measure it before an assistant uses it; Ctrl-C stops it.")
    command = ["rasa-ft", "evaluate", "output", "--api-base", server.base_url, "--model", server.name, *options]
    _tell(f"  {shlex.join(command)}")
