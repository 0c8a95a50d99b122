"""Downloads of a run: snapshots, film, numbers, weights, folder, the command that repeats it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import streamlit as st

from lab.store import Run
from lab.view import View
from ui.common.deferred import deferred, say_what_failed
from ui.common.page import theme

MIME = {"gif": "image/gif", "png": "image/png", "csv": "text/csv", "zip": "application/zip"}

# Ending of the file to its name on the button and what makes it from a run and a theme.
Files = Mapping[str, tuple[str, Callable[[Run, str], bytes]]]


def take_away(view: View, files: Files) -> None:
    """Draw the download buttons of a run. What costs time is made when it is asked for."""
    run, shade = view.run, theme()
    if view.snapshot is None:
        st.info("There is nothing to take away yet.")
        return
    columns = st.columns(3)
    weights = run.path / "model.safetensors"
    buttons = [
        *((ending, label, partial(make, run, shade)) for ending, (label, make) in files.items()),
        ("csv", "Metrics (CSV)", (run.path / "metrics.csv").read_bytes),
        ("safetensors", "Weights (safetensors)", run.weights.file),
        ("zip", "The whole run (zip)", run.zipped),
    ]
    for i, (ending, label, data) in enumerate(buttons):
        columns[i % 3].download_button(
            label,
            deferred(data, label),
            f"{run.id}.{ending}",
            MIME.get(ending, "application/octet-stream"),
            on_click="ignore",
            icon=":material/download:",
            width="stretch",
            key=f"{run.id}.{ending}",
            disabled=ending == "safetensors" and not weights.exists(),
        )
    say_what_failed()
    columns[len(buttons) % 3].caption(
        f"The run is the folder `{run.path.name}` and opens without the lab."
    )
    st.markdown("The same training from the command line:")
    st.code(run.command(), language="bash", wrap_lines=True)
