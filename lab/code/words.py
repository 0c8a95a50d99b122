"""What a script says around the lab's code: what it is, its loop, where its data are put."""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Iterable, Mapping, Sequence

from lab.store import Run
from training.core.config import RunConfig

SHOWN = 3  # rows of the run that the script compares itself with
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}  # called otherwise where they are installed

WHERE = {
    "points": "Put `data.npz` beside this script: it is in the folder of the run (*Take away*, "
    "*The whole run*).",
    "cyclegan": "Put the images into `data/{name}/trainA` and `trainB`, `testA` and `testB`: the "
    "archive of that name from https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/ has them so.",
    "mvtec": "Put the good images into `data/capsule/train/good`: MVTec AD from "
    "https://www.mvtec.com/company/research/datasets/mvtec-ad has them so.",
    "torchvision": "The images are downloaded by torchvision into `data`, once.",
}

LOOP = '''def train(training, steps):
    """Take optimiser steps; every few, yield the step and the mean of each loss since then."""
    log_every = max(1, min(20, training.total // 200))
    seen = []
    while training.step < steps:
{changes}        seen.append(training.update())
        training.step += 1
        if training.step % log_every == 0 or training.step == training.total:
            columns = {{}}
            for losses in seen:
                for name, value in losses.items():
                    columns.setdefault(name, []).append(value)
            yield training.step, {{
                name: float(torch.stack(values).sum() / len(values))
                for name, values in columns.items()
            }}
            seen = []'''

MAIN = """# What the run logged: on the same kind of processor, the first numbers here are the same.
LOGGED = {logged}

if __name__ == "__main__":
{threads}    training = {built}
    steps = next((int(word) for word in sys.argv[1:] if word.isdecimal()), {steps})
    for step, losses in train(training, steps):
        then = LOGGED.get(step, {{}})
        for name, value in losses.items():
            run = f"  (the run: {{then[name]:.6g}})" if name in then else ""
            print(f"step {{step:6,}}  {{name}} {{value:.6g}}{{run}}", flush=True)
    torch.save(training.model.state_dict(), "model.pt")"""


def opening(run: Run, texts: Sequence[str]) -> str:
    """Return what the script is, in Markdown."""
    family = run.family
    lines = [
        f"# {family.title}",
        f"{family.paper}, {family.url}.",
        f"Written out of the Generative Lab for the run `{run.id}`: the lab's own code, cut down "
        "to what this run uses. It takes the same steps as the run did.",
        f"It needs Python 3.11 and {', '.join(packages(texts))}. `uv run` installs them by "
        "itself. `python SCRIPT 200` stops after 200 steps.",
        place_of_data(run.config),
    ]
    return "\n\n".join(filter(None, lines))


def place_of_data(config: RunConfig) -> str:
    """Return where a script looks for the data of a run, if it does not make them itself."""
    name = config.dataset
    if name == "own":
        return WHERE["points"]
    if name in ("mnist", "fashion_mnist", "cifar10"):
        return WHERE["torchvision"]
    if name.startswith("mvtec"):
        return WHERE["mvtec"]
    return WHERE["cyclegan"].format(name=name) if "2" in name else ""


def packages(texts: Iterable[str]) -> list[str]:
    """Return the packages that pieces of Python import, as an installer calls them."""
    tops = set()
    for node in (node for text in texts for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Import):
            tops |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            tops.add(node.module.partition(".")[0])
    return sorted(PACKAGES.get(top, top) for top in tops - sys.stdlib_module_names)


def loop_of(changes: Mapping[int, Mapping[str, object]], alone: Mapping[int, str]) -> str:
    """Return the loop.

    Args:
        changes: settings that were changed while it trained, by step.
        alone: the part that stepped alone, by step.
    """
    text, inside = "", ""
    if changes:
        text += (
            f"# After so many steps, these settings were changed.\nCHANGES = {dict(changes)!r}\n"
        )
        inside += "        training.live.update(CHANGES.get(training.step, {}))\n"
    if alone:
        text += f"# After so many steps, one of the two learned alone.\nALONE = {dict(alone)!r}\n"
        inside += "        training.part = ALONE.get(training.step)\n"
    return f"{text}\n\n{LOOP.format(changes=inside)}".lstrip()


def main_of(run: Run, built: str) -> str:
    """Return what the script does when it is run.

    Args:
        run: that it repeats.
        built: the expression that makes its experiment.
    """
    status = run.status()
    steps = str(status.step) if status.state == "stopped" else "training.total"
    alone = run.family.training.threads == 1
    threads = (
        "    torch.set_num_threads(1)  # small networks lose by a second one\n" if alone else ""
    )
    logged = first_logged(run.metrics.rows(), status.total)
    if run.family.training.data.faster_on == "gpu":
        device = '"cuda" if torch.cuda.is_available() else "cpu"'
        built = f"{built[:-1]}, device={device})"
    return MAIN.format(logged=_written(logged), threads=threads, built=built, steps=steps)


def first_logged(rows: Sequence[Mapping[str, float]], total: int) -> dict[int, dict[str, float]]:
    """Return the first losses that a run logged, by step; its own are means since the last."""
    every = max(1, min(20, total // 200))
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        step = int(row["step"])
        if step and step == (len(found) + 1) * every and len(found) < SHOWN:
            numbers = {name: value for name, value in row.items() if name not in _ASIDE}
            found[step] = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return found


_ASIDE = {"step", "seconds", "learning_rate", "learning_rate_d"}


def _written(logged: Mapping[int, Mapping[str, float]]) -> str:
    if not logged:
        return "{}"
    return "{\n" + "".join(f"    {step}: {dict(row)!r},\n" for step, row in logged.items()) + "}"
