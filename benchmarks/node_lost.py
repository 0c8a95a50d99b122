"""The harm of ``faults`` that needs a cluster: a node of Ray is gone, with what it trained."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from benchmarks.cluster import Nodes, cluster
from benchmarks.faults import PATIENCE, SMALL, Broken, Outcome, TooLate, check_whole, step_of
from benchmarks.kills import end_session, patiently
from benchmarks.options import Unavailable
from lab.store import Run, RunStore
from paths import ROOT

# A real lab on the cluster that its environment names. Again and again it writes down what a page
# would show of its two runs; it ends with its standard input.
SERVER = """
import json, os, sys, threading, time
from registry import FAMILIES
from lab.lab import Lab
from lab.ray_worker import find_cluster

if __name__ == "__main__":
    while find_cluster().cpus < 2:
        time.sleep(0.5)
    lab = Lab(sys.argv[1])
    config = FAMILIES["nice"].training.CONFIG
    small = json.loads(sys.argv[2])
    ids = [lab.submit(FAMILIES["nice"], config(**small, seed=seed)) for seed in (1, 2)]
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while not over.wait(0.1):
        seen = {i: [(s := lab.view(i).status).state, s.step, s.message] for i in ids}
        with open("seen.new", "w") as file:
            json.dump(seen, file)
        os.replace("seen.new", "seen.json")
    lab.close()
"""
STEPS = 5000
LOST = "node that trained this run was lost"


def node_lost(moment: random.Random) -> Outcome:
    """Kill the node that trains one of two runs, with all its processes, and start another one.

    Args:
        moment: draws the step.

    Raises:
        Unavailable: ray is not installed.
        Broken: a promise was not kept.
        TooLate: the run had ended before.
    """
    if find_spec("ray") is None:
        raise Unavailable("ray is not installed: pip install -r requirements-ray.txt.")
    with (
        tempfile.TemporaryDirectory(prefix="genlab-ray-") as folder,
        cluster(Path(folder), host="127.0.0.2") as nodes,
    ):
        nodes.start_head(cpus=0)
        nodes.join("127.0.0.3")
        nodes.join("127.0.0.4")
        server = _serve(Path(folder), nodes)
        try:
            return _round(Path(folder), nodes, moment)
        finally:
            end_session(server)


def _round(folder: Path, nodes: Nodes, moment: random.Random) -> Outcome:
    patiently(lambda: len(_seen(folder)) == 2, PATIENCE)
    store = RunStore(folder / "runs")
    victim, other = map(store.get, _seen(folder))
    goal = moment.randrange(50, STEPS // 2)
    patiently(lambda: _step(folder, victim) >= goal and step_of(victim) > 0, PATIENCE, 0.1)
    node = nodes.node_of(victim.path)
    if node is None:
        raise TooLate
    nodes.kill(node)
    reached = _step(folder, victim)
    patiently(lambda: LOST in _said(folder, victim) or _has_ended(folder, victim), PATIENCE, 0.1)
    said = _said(folder, victim)
    if LOST not in said and step_of(victim) == STEPS:
        raise TooLate
    lost = max(0, reached - step_of(victim))
    nodes.join("127.0.0.5")
    for run in (victim, other):
        patiently(lambda: _has_ended(folder, run), PATIENCE, 0.1)  # noqa: B023 - called at once
        check_whole(run)
    if _said(folder, other):
        raise Broken(f"the other run noticed: {_said(folder, other)}")
    return Outcome(lost, said)


def _serve(folder: Path, nodes: Nodes) -> subprocess.Popen:
    script = folder / "server.py"
    script.write_text(SERVER)
    settings = json.dumps({**SMALL, "layers": 4, "iterations": STEPS})
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / "runs"), settings],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **nodes.env},
        start_new_session=True,
    )


def _seen(folder: Path) -> dict[str, tuple[str, int, str]]:
    """Return state, step and message of each run, as a page would show them."""
    with suppress(OSError):
        return json.loads((folder / "seen.json").read_text())
    return {}


def _step(folder: Path, run: Run) -> int:
    return _seen(folder)[run.id][1]


def _said(folder: Path, run: Run) -> str:
    return _seen(folder)[run.id][2]


def _has_ended(folder: Path, run: Run) -> bool:
    return _seen(folder)[run.id][0] in ("finished", "failed", "interrupted", "stopped")
