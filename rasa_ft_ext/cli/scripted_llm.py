"""`scripted-llm`: a stand-in for an LLM, a server that answers from a file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("answers", type=Path, help="File with the answers (YAML).")
    parser.add_argument("--port", type=arguments.port, default=0, help="Port to listen on; 0 picks a free one.")
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    parser.add_argument(
        "--latency", type=arguments.seconds, default=0.0, metavar="SECONDS", help="Time that an answer takes."
    )
    parser.add_argument(
        "--syntax",
        choices=("auto", "v1", "v2", "v3"),
        default="auto",
        help="Syntax to write commands in; auto: the one that the prompt shows.",
    )


def run(args: Namespace) -> int:
    from rasa_ft_ext.llm.scripted import Script
    from rasa_ft_ext.llm.scripted_api import ScriptedLLM
    from rasa_ft_ext.llm.scripted_server import serve

    syntax = None if args.syntax == "auto" else args.syntax
    llm = ScriptedLLM(Script.load(args.answers), latency=args.latency, syntax=syntax)
    serve(llm, args.host, args.port, lambda base_url: print(f"scripted LLM on {base_url}", flush=True))
    return 0
