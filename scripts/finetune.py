"""`rasa-ft train` for a machine with GPUs: it needs neither Rasa nor the assistant, only the rows of `rasa-ft split`.

    pip install 'rasa-ft-ext[train]'
    python scripts/finetune.py output/ --recipe qwen3-4b           # one GPU
    accelerate launch --config_file rasa_ft_ext/train/launch/ddp.yml --num_processes 4 \\
        scripts/finetune.py output/ --recipe qwen3-4b              # four

Copy the folder `output/` there, or only the two files of rows, and give these with --train-file and --val-file. The
arguments are those of `rasa-ft train`.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from rasa_ft_ext.cli import logs, output, train
from rasa_ft_ext.cli.arguments import HelpFormatter, logging_options


def main() -> int:
    text = (__doc__ or "").partition("\n")[0]
    parser = ArgumentParser(description=text, parents=[logging_options()], formatter_class=HelpFormatter)
    train.add_arguments(parser)
    args = parser.parse_args()
    logs.configure(args)
    return output.guarded(train.run, args, "train")


if __name__ == "__main__":
    sys.exit(main())
