"""The stages as functions: what the command line does, for those who program.

    from rasa_ft_ext import prepare_data

    summary = prepare_data("e2e_tests", project="my_assistant", num_rephrases=5)
    print(summary.num_train_data_points)

Keywords are the flags of the command line, with the same defaults; relative paths start from `project`. What comes back
is a frozen record of what was made; the results themselves are in `out`, where a finished stage is not run again. The
licence of Rasa is not looked at here: the commands do that.
"""

from __future__ import annotations

from rasa_ft_ext.api.assistant import connect, doctor, evaluate, monitor, rollback
from rasa_ft_ext.api.data import annotate, dataset, prepare_data, rephrase, split
from rasa_ft_ext.api.model import serve, train
from rasa_ft_ext.api.quality import check_coverage, check_data, prompt_stats, report

__all__ = [
    "annotate",
    "check_coverage",
    "check_data",
    "connect",
    "dataset",
    "doctor",
    "evaluate",
    "monitor",
    "prepare_data",
    "prompt_stats",
    "rephrase",
    "report",
    "rollback",
    "serve",
    "split",
    "train",
]
