"""`review`: look at messages and rephrasings in the browser, and accept, reject or edit them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments, values


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", default="output", help="Folder with the results of the other commands.")
    arguments.add_project(parser)
    arguments.add_review(parser)
    parser.add_argument("--port", type=values.port, default=0, help="Port to listen on; 0 picks a free one.")
    parser.add_argument("--open", action="store_true", help="Open the page in a browser.")


def run(args: Namespace) -> int:
    from rasa_ft_ext.review_server.server import ReviewServer, serve
    from rasa_ft_ext.review_server.words import ended, started

    project = Path(args.project)
    output = project / args.output
    server = ReviewServer(output, project / args.review if args.review else None)

    def announce(address: str) -> None:
        print(started(server.desk, address), flush=True)
        if args.open:
            import webbrowser

            webbrowser.open(address)

    serve(server, args.port, announce)
    print(ended(server.desk, args.output, args.project, args.review), flush=True)
    return 0
