"""Train the runs that ship with the lab, so that no page opens empty.

``python assets/runs/make.py [NAME ...]``; those on images take up to 70 minutes, and most need
MNIST, under a folder named in ``GENLAB_DATA`` or downloaded. Each is an ordinary run folder; only
the checkpoint (nobody resumes it) and most snapshots are left out. ``--adopt FOLDER NAME`` takes a
run that was trained elsewhere. A run that does not pass the lab's own Check (``checks.py``) does
not ship: the one before it stays.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from cli.train import main  # noqa: E402
from analysis.maf_scores import evaluate  # noqa: E402
from lab.runs.checkpoints import CHECKPOINTS  # noqa: E402
from lab.store import Run  # noqa: E402
from figures.maf_figures import write_results  # noqa: E402
from assets.runs import checks  # noqa: E402

COMMANDS = {
    "nice": "nice --dataset two_moons --iterations 3000",
    "realnvp": "realnvp --dataset pinwheel --coupling spline --blocks 6 --iterations 3000",
    "glow": "glow --dataset mnist --steps 16 --iterations 15000 --learning-rate 5e-3",
    "nice_images": "nice_images --dataset mnist --hidden 300 --depth 2 --iterations 6000 "
    "--batch 128 --learning-rate 1e-3",
    "realnvp_images": "realnvp_images --dataset mnist --hidden 96 --batch 256 --iterations 6000 "
    "--learning-rate 5e-3",
    "maf": "maf --epochs 50",
    "gan": "gan",
    "gan_images": "gan_images --dataset mnist --epochs 20 --loss relativistic --gamma 10 --veil 0 "
    "--learning-rate 1e-3 --learning-rate-d 1e-3 --ema 500",
    "dcgan": "dcgan --dataset cifar10 --maps 48 --batch 128 --epochs 149",
    "vae": "vae --dataset mnist --latent 2 --hidden 192 --depth 3 --epochs 20 --batch 128",
    "cyclegan": "cyclegan --width 12 --discriminator-width 12 --upsampling transposed",
    "glow_plane": "glow_plane --dataset pinwheel --iterations 3000",
    "maf_plane": "maf_plane --dataset pinwheel --iterations 3000",
    "vae_plane": "vae_plane --dataset ring --iterations 3000",
    "flow_matching": "flow_matching --reflow 1",
    "flow_matching_images": "flow_matching_images --dataset mnist --iterations 2000 --batch 32",
}
# Of runs that were trained elsewhere: what their pages have to say about it.
STORIES = {
    "dcgan": "It was trained on one NVIDIA H200 in 6 minutes, on a JPEG copy of CIFAR-10 (3,000 of "
    "the 5,000 training images of each class), and cut short before its learning rate had fallen "
    "to zero.",
    "realnvp_images": "It was trained on one NVIDIA H200 in 5.5 minutes.",
}
FRAMES = 30
TENTHS_ONLY = ("maf", "cyclegan")  # their pictures are large
FIFTHS_ONLY = ("cyclegan",)  # and these even larger


def ship(stem: str) -> None:
    """Train one run from scratch and keep what the page shows."""
    path = _blank(stem)
    main([*COMMANDS[stem].split(), "--out", str(path), "--device", "cpu"])
    thin_out(Run(path))
    if stem == "maf":
        score(Run(path))
    _put_in_place(Run(path), stem)


def adopt(folder: Path, stem: str) -> None:
    """Take a run that was trained elsewhere: its settings, numbers, snapshots and weights."""
    run = Run(_blank(stem))
    shutil.copytree(folder, run.path, copy_function=shutil.copyfile)
    if run.snapshots.target() is None:
        own = checks.copy_of(run.config.dataset)
        config = run.config.replace(dataset="own") if own else run.config
        run.snapshots.save_target(run.family.training.build(config, own=own).target())
    status = run.status()
    state = "stopped" if status.active else status.state
    run.write_status(replace(status, state=state, message=STORIES[stem]))
    _put_in_place(run, stem)


def _blank(stem: str) -> Path:
    path = HERE / f".{stem}.new"
    shutil.rmtree(path, ignore_errors=True)
    return path


def _put_in_place(run: Run, stem: str) -> None:
    if not checks.report(run):
        sys.exit(f"{stem} does not pass the lab's own Check: it stays in {run.path}.")
    shutil.rmtree(HERE / stem, ignore_errors=True)
    run.path.rename(HERE / stem)


def score(run: Run) -> None:
    """Score the test images, which the page would otherwise do when it is first opened."""
    experiment = run.experiment()
    step = run.weights.load_into(experiment.model)
    write_results(run, evaluate(experiment), step)


def thin_out(run: Run) -> None:
    """Delete what no page shows of a finished run."""
    events = [path.name for path in run.path.glob("events.out.tfevents.*")]
    for name in (*CHECKPOINTS, ".lock", *events):
        (run.path / name).unlink(missing_ok=True)
    steps, total = run.snapshots.steps(), run.status().total
    tenths = {round(total * tenth / 10) for tenth in range(11)}
    spread = {steps[round(i * (len(steps) - 1) / (FRAMES - 1))] for i in range(FRAMES)}
    if run.family.stem in TENTHS_ONLY:
        spread = set(run.experiment().landmarks)
    if run.family.stem in FIFTHS_ONLY:
        tenths = {round(total * fifth / 5) for fifth in range(6)}
    for step in set(steps) - tenths - spread:
        (run.path / "snapshots" / f"{step:08d}.npz").unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--adopt"]:
        adopt(Path(sys.argv[2]), sys.argv[3])
    else:
        for name in sys.argv[1:] or COMMANDS:
            ship(name)
