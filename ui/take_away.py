"""Downloads of a run: pictures, film, numbers, weights, folder, the command that repeats it."""

from __future__ import annotations

import streamlit as st

from training.lab import View
from training.store import Run
from ui.figures import film, peak_of, report_figure
from ui.page import theme
from ui.plane import target_image


def take_away(view: View) -> None:
    """Draw the download buttons of a run. What costs time is made when it is asked for."""
    run, shade = view.run, theme()
    if view.snapshot is None:
        st.info("There is nothing to take away yet.")
        return
    first, second, third = st.columns(3)
    _button(
        first, "Film of the training (GIF)", lambda: film_of(run, shade), run, "gif", "image/gif"
    )
    _button(second, "Figure, 200 dpi (PNG)", lambda: _figure(run), run, "png", "image/png")
    _button(third, "Metrics (CSV)", (run.path / "metrics.csv").read_bytes, run, "csv", "text/csv")
    weights = run.path / "model.safetensors"
    _button(
        first,
        "Weights (safetensors)",
        weights.read_bytes,
        run,
        "safetensors",
        "application/octet-stream",
        disabled=not weights.exists(),
    )
    _button(second, "The whole run (zip)", run.zipped, run, "zip", "application/zip")
    third.caption(f"The run is the folder `{run.path.name}` and opens without the lab.")
    st.markdown("The same training from the command line:")
    st.code(run.command(), language="bash")


def _button(column, label: str, data, run: Run, ending: str, mime: str, **options) -> None:
    column.download_button(
        label,
        data,
        f"{run.id}.{ending}",
        mime,
        on_click="ignore",
        icon=":material/download:",
        width="stretch",
        key=f"{run.id}.{ending}",
        **options,
    )


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the pictures in its folder."""
    target = run.target()
    frames = [(step, run.snapshot(step)["density"]) for step in run.snapshot_steps()]
    peak = peak_of(target.get("density", frames[-1][1]))
    return film(frames, target_image(target, shade), peak, shade)


def _figure(run: Run) -> bytes:
    step = run.snapshot_steps()[-1]
    config = run.config
    title = f"{run.family.title} on {config.dataset}, step {step:,}, seed {config.seed}"
    return report_figure(run.target(), run.snapshot(step), run.metrics(), title)
