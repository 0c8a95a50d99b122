"""Every page with an address and a folder of runs that somebody made who means harm.

Run in a process of its own: the lab is one per process. Tells what each page showed as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

MARK = "![x](http://127.0.0.1:1/x.png)"
NAME = f"{MARK} <img src=x onerror=alert(1)> :red[y] $z$"


def make_runs(root: Path) -> None:
    """Make an honest run with a hostile name, and damaged ones beside it."""
    import numpy as np
    from hostile.cases import SMALL, Context
    from hostile.files import npy, npz

    from lab.imports.run_import import import_run
    from lab.store import Run, RunStore
    from registry import FAMILIES

    nice, store = FAMILIES["nice"], RunStore(root)
    context = Context(root)
    context.run.notes.rename(NAME)
    for name, file, content in (
        ("damaged-config", "config.json", b"{"),
        ("nested-config", "config.json", b"[" * 100_000),
        ("endless-status", "status.json", b'{"state": "finished", "seconds": Infinity}'),
        ("html-status", "status.json", b'{"state": "<b>", "message": "![x](http://127.0.0.1:1/)"}'),
        ("flat-rows", "metrics.csv", b"step,nll\n" + b"5,1\n" * 2000),
        ("endless-rows", "metrics.csv", b"step,nll\n0,inf\n1,nan\n2,1e300\n"),
    ):
        run = Run.create(root / name, nice, nice.training.config(**SMALL))
        run.write_status(replace(run.status(), state="stopped", message=MARK))
        (run.path / file).write_bytes(content)
    below = b'{"state": "finished", "step": 5, "total": -3}'
    for name, content in (("lost-status", None), ("below-status", below)):
        path = shutil.copytree(context.run.path, root / name)
        (path / "status.json").unlink()
        if content is not None:
            (path / "status.json").write_bytes(content)
    (shutil.copytree(context.run.path, root / "lost-config") / "config.json").unlink()
    strange = npz({"samples": npy(np.zeros((3, 9, 9), "f4")), "density": npy(np.zeros(5, "U9"))})
    for number, target in enumerate((strange, npz({}))):
        steps = {f"snapshots/{step:08d}__npz": strange for step in (0, 5)}
        changes = {"target__npz": target, "status__json": b'{"step": 5, "total": 9}', **steps}
        run = import_run(store, context.packed(**changes))
        run.path.rename(root / f"strange-{number}")


def shown(app) -> list[str]:
    """All that a page shows as Markdown."""
    kinds = ("markdown", "caption", "error", "warning", "info", "success", "title", "header",
             "subheader")  # fmt: skip
    found = [element.value for kind in kinds for element in getattr(app, kind)]
    return [*found, *(tab.label for tab in app.tabs), *(box.label for box in app.expander)]


def main() -> None:
    root = Path(sys.argv[1])
    os.environ["GENLAB_RUNS"] = str(root)
    logging.disable(logging.WARNING)
    from streamlit.testing.v1 import AppTest

    make_runs(root)
    asked = json.load(sys.stdin)
    for page, address in asked:
        app = AppTest.from_file(os.path.abspath("app.py"), default_timeout=120)
        if page != "app.py":
            app.run()
            app.switch_page(page)
        for name, value in address.items():
            app.query_params[name] = value
        app.run()
        told = {"page": page, "raised": [e.value for e in app.exception], "shown": shown(app)}
        sys.stdout.write(json.dumps(told) + "\n")
    os._exit(0)


if __name__ == "__main__":
    main()
