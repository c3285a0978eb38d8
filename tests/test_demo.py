"""`make demo`: the recipe on the example assistant, by the command that a user would type."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_demo_makes_training_data_without_a_key(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    result = subprocess.run(
        [
            sys.executable,
            ROOT / "scripts" / "demo.py",
            "--json",
            figures,
            "--out",
            tmp_path / "output",
            "--num-rephrases=1",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    made = json.loads(figures.read_text())
    assert made["num_train_data_points"] > 0
    assert made["num_val_data_points"] > 0
    assert made["llm"]["refused"] == 0
    assert "rasa-ft prepare-data e2e_tests" in result.stdout
    assert (tmp_path / "output" / "result_summary.yaml").is_file()
