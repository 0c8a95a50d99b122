"""Train the comparison that ships with the lab, so that the arena opens with a finished one.

``python assets/comparison/make.py``, some minutes; ``--adopt FOLDER`` takes one that was trained by
the command below. Of each run only what the arena shows is kept. How long samples took is left out:
it says something of one machine, and of what else it did.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from cli.train import main  # noqa: E402
from lab.comparison import Comparison  # noqa: E402
from lab.runs.files import read_json, write_json  # noqa: E402
from lab.store import RunStore  # noqa: E402

COMMAND = "compare --families nice realnvp --dataset ring --steps 1000 --seeds 3"
KEPT = ("config.json", "status.json", "metrics.csv", "summary.json")


def ship(folder: Path) -> None:
    """Put a finished comparison in the place of the one that ships."""
    comparison = Comparison(folder / "comparison.json", RunStore(folder / "runs"))
    ended = [comparison.run_of(entry).status().state for entry in comparison.entries]
    if set(ended) != {"finished"}:
        sys.exit(f"Not all of its runs are finished: {', '.join(ended)}.")
    shutil.rmtree(HERE / "runs", ignore_errors=True)
    for entry in comparison.entries:
        run, place = comparison.run_of(entry), HERE / "runs" / entry.run
        (place / "snapshots").mkdir(parents=True)
        names = [*KEPT]
        if entry.seed == 0:  # samples are shown of the first training
            names += ["target.npz", f"snapshots/{run.snapshots.steps()[-1]:08d}.npz"]
        for name in names:
            shutil.copyfile(run.path / name, place / name)
        summary = read_json(place / "summary.json")
        summary.pop("sample_seconds", None)
        write_json(place / "summary.json", summary)
    shutil.copyfile(folder / "comparison.json", HERE / "comparison.json")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--adopt"]:
        ship(Path(sys.argv[2]))
    else:
        made = HERE / ".new"
        shutil.rmtree(made, ignore_errors=True)
        main([*COMMAND.split(), "--out", str(made), "--device", "cpu"])
        ship(made)
        shutil.rmtree(made)
