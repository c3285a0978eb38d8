"""`export`: copy a model to an object store, the Hugging Face Hub or a folder, and prove that it arrived."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rasa_ft_ext.cli import output


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="Folder that `rasa-ft train` wrote, or any with a model in it.")
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="s3://bucket/path, gs://bucket/path, hf://owner/name[@revision], another URL of fsspec, or a folder.",
    )
    parser.add_argument(
        "--part",
        choices=["merged", "adapter", "merged_4bit", "all"],
        help="What to take of the folder that `rasa-ft train` wrote (default: merged).",
    )
    parser.add_argument("--public", action="store_true", help="Let everyone read the repository on the Hub.")
    parser.add_argument("--force", action="store_true", help="Replace an earlier export, and go among other files.")


def run(args: Namespace) -> int:
    from rasa_ft_ext.export import export

    with output.progress(args) as shown:
        summary = export(args.model, args.target, part=args.part, public=args.public, force=args.force, progress=shown)
    output.print_summary("Exported model", summary, summary.target, shown)  # type: ignore[arg-type]  # a URL is no path
    return 0
