"""`scripted-llm`: a stand-in for an LLM, a server that answers from a file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import values


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("answers", type=Path, help="File with the answers (YAML).")
    parser.add_argument("--port", type=values.port, default=0, help="Port to listen on; 0 picks a free one.")
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    parser.add_argument(
        "--latency", type=values.seconds, default=0.0, metavar="SECONDS", help="Time that an answer takes."
    )
    parser.add_argument(
        "--syntax",
        choices=("auto", "v1", "v2", "v3"),
        default="auto",
        help="Syntax to write commands in; auto: the one that the prompt shows.",
    )
    parser.add_argument(
        "--capacity",
        type=values.count,
        metavar="N",
        help="Answer at most N calls at a time, and the others with status 429; by default, any number.",
    )
    parser.add_argument(
        "--batch-seconds", type=values.seconds, default=0.0, metavar="SECONDS", help="Time that a batch takes."
    )
    _add_faults(parser)


def _add_faults(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Faults on purpose")
    group.add_argument(
        "--faults", type=values.share, default=0.0, metavar="SHARE", help="Let this share of the calls go wrong."
    )
    group.add_argument(
        "--fault-kinds",
        metavar="KIND,...",
        help="What goes wrong: 429, 429-retry-after, 500, 503, timeout, reset, truncated, no-choices, wrong-format, "
        "straggler; by default, each of them.",
    )
    group.add_argument("--fault-seed", type=int, default=0, metavar="N", help="Another seed: other calls go wrong.")
    group.add_argument(
        "--retry-after", type=values.seconds, default=1.0, metavar="SECONDS", help="What 429-retry-after asks for."
    )
    group.add_argument(
        "--straggle", type=values.seconds, default=30.0, metavar="SECONDS", help="When a straggler is answered."
    )


def run(args: Namespace) -> int:
    from rasa_ft_ext.llm.scripted.api import ScriptedLLM
    from rasa_ft_ext.llm.scripted.faults import KINDS, Faults
    from rasa_ft_ext.llm.scripted.script import Script
    from rasa_ft_ext.llm.scripted.server import serve

    faults = Faults(
        share=args.faults,
        kinds=tuple(args.fault_kinds.split(",")) if args.fault_kinds is not None else KINDS,
        seed=args.fault_seed,
        retry_after=args.retry_after,
        straggle=args.straggle,
    )
    llm = ScriptedLLM(
        Script.load(args.answers),
        latency=args.latency,
        syntax=None if args.syntax == "auto" else args.syntax,
        faults=faults,
        capacity=args.capacity,
        batch_seconds=args.batch_seconds,
        remembered=0,
    )
    serve(llm, args.host, args.port, lambda base_url: print(f"scripted LLM on {base_url}", flush=True))
    return 0
