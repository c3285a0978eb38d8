"""Print where a configuration is: `accelerate launch --config_file $(python -m rasa_ft_ext.train.launch ddp) ...`."""

import argparse
from pathlib import Path

FILES = {file.stem: file for file in sorted(Path(__file__).parent.glob("*.yml"))}

parser = argparse.ArgumentParser(prog="python -m rasa_ft_ext.train.launch", description=__doc__)
parser.add_argument("name", choices=FILES)
print(FILES[parser.parse_args().name])
