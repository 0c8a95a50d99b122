"""Flow matching in 2-D: live, on the way from noise to data, by few steps, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import streamlit as st
import torch

from analysis.flow_matching_plane import (
    COUNTS,
    Field,
    bend,
    by_steps,
    check_flow_matching,
    field_of,
    sampled,
    trails_of,
    trajectories_of,
)
from analysis.plane_checks import Check
from figures.images import categories, peak_of
from lab.store import Run
from lab.view import View
from models.blocks.ode import SOLVERS
from models.flow import Flow
from models.flow_matching import solved
from ui.common.cached import kept, painted
from ui.common.curves import draw_curves
from ui.common.history import Arrays, Moment, live
from ui.common.page import theme
from ui.common.plain import table_of
from ui.common.trained import trained_model
from ui.common.widgets import KEPT, choice
from ui.plane_flows.live import PLANE, draw_kl, draw_plane_tenths
from ui.plane_flows.live import panels as plane_panels
from ui.plane_flows.points import plane_of, take_points
from ui.stage.component import show_stage
from ui.stage.encode import encode
from ui.stage.scene import Arrows, Heat, Lines, Panel, Points, Scene, Timeline
from ui.stage.training import show_training

STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64]
SHOWN = 600  # points on their way
TRAILS = 60  # of which the way is drawn
AXES = ("x₁", "x₂")


# -- while it trains -------------------------------------------------------------------------------


@live
def draw_flow_matching(moment: Moment) -> None:
    """Draw target, learned density, samples, trajectories and curves of a run."""
    show_training(moment, panels)
    loss, distance = st.columns(2)
    names, unit = {"matching": "training batch"}, "squared error"
    draw_curves(moment, loss, "matching", names, unit, "Matching loss")
    loss.caption(
        "In the first round it stays above zero: where paths cross, the network can only learn "
        "their mean. The fewer cross, after a reflow or between matched pairs, the lower it is."
    )
    draw_kl(moment, distance)
    draw_plane_tenths(moment)


def panels(moment: Moment, frames: Sequence[Arrays]) -> list[Panel]:
    """Return target, density, and the trajectories of some samples, with a frame per snapshot."""
    trajectories = np.stack([frame["trajectories"] for frame in frames]).astype(
        np.float32
    )  # (f, k, m, 2)
    reach = max(3.2, float(np.abs(moment.target["box"]).max()))
    colours = categories(trajectories[-1, 0])
    return [
        *plane_panels(moment, frames)[:2],
        Panel(
            f"Trajectories of {trajectories.shape[2]} points from noise to data",
            (-reach, reach, -reach, reach),
            [
                Lines("trajectories", trajectories.transpose(0, 2, 1, 3)),
                Points("noise", trajectories[:, 0], "muted"),
                Points("samples", trajectories[:, -1], colours, size=2.4),
            ],
            "Trajectories from noise to data",
        ),
    ]


# -- on the way ------------------------------------------------------------------------------------


def follow(view: View, version: float) -> None:
    """Show points on their way from noise to data, by a solver that the visitor chooses."""
    st.markdown(
        "**Follow the velocity.** The slider below the images is the time, from 0, noise, to 1, "
        "data. Solver and steps act at once: nothing is trained again."
    )
    _followed(view.run, version)


@st.fragment
def _followed(run: Run, version: float) -> None:
    controls, numbers = st.columns([2.2, 1], vertical_alignment="bottom")
    with controls:
        solver, steps = _solver(f"{run.id}.follow")
    flow = solved(trained_model(run, version), solver=solver, steps=steps)
    shade = theme()
    by = run.id, version, solver, steps, shade
    block, straightness, asked = painted(_trajectory_block, by, run, version, flow, shade)
    show_stage(block, key=f"{run.id}.follow")
    numbers.caption(
        f"{asked} passes through the network for each point. Trajectories are {straightness:.1%} "
        "longer than straight lines."
    )
    take_points(st, run, kept(sampled, (run.id, version, solver, steps), flow, 2000))


def _solver(key: str) -> tuple[str, int]:
    solver = choice("Solver", list(SOLVERS), f"{key}.solver", format_func=_title)
    adaptive = bool(SOLVERS[solver].embedded)
    steps = st.select_slider(
        "Steps",
        STEPS,
        8,
        key=f"{key}.steps",
        disabled=adaptive,
        help="Of the solver, from noise to data. An adaptive solver chooses its own.",
        **KEPT,
    )
    return solver, steps


def _title(solver: str) -> str:
    return SOLVERS[solver].title


def _trajectory_block(run: Run, version: float, flow: Flow, shade: str) -> tuple[bytes, float, int]:
    """Return the scene, how bent the trajectories are, and how often the network was asked."""
    words = "Following the density"
    field = kept(_field, (run.id, version), run, version, words=words)
    z = flow.prior.sample(SHOWN, generator=torch.Generator().manual_seed(5))
    trajectories = trajectories_of(flow, z, field.times)
    timeline = Timeline(
        labels=[f"time {t:.2f}" for t in field.times],
        values=list(range(len(field.times))),
        name="Time",
        smooth=True,
    )
    scene = Scene(
        _trajectory_panels(field, trajectories), shade, timeline, save=f"{run.id}-trajectories"
    )
    transport = flow.chain[-1]
    asked = sum(1 for _ in transport.trajectory(z[:1])) - 1
    return encode(scene), bend(trajectories), asked * len(SOLVERS[transport.solver].nodes)


def _field(run: Run, version: float) -> Field:
    return field_of(trained_model(run, version), plane_of(run).box())


def _trajectory_panels(field: Field, trajectories: np.ndarray) -> list[Panel]:
    colours = categories(trajectories[0])
    peaks = [peak_of(each) for each in field.density]
    density = Heat("density", field.density, peaks, root=True, name="density")
    return [
        Panel(
            "Points and their trajectories, coloured by where they began",
            field.box,
            [
                Lines("trajectories", trails_of(trajectories[:, :TRAILS])),
                Points("points", trajectories, colours, size=2),
            ],
            "Points on their way",
            AXES,
            first=True,
        ),
        Panel(
            "Velocity: where a point goes from here",
            field.box,
            [Arrows("velocity", field.arrows), Points("points", trajectories, colours, on=False)],
            "Field of velocities",
            AXES,
        ),
        Panel(
            "Density at this time, by fine steps",
            field.box,
            [density],
            "Density on the way",
            AXES,
        ),
    ]


# -- few steps -------------------------------------------------------------------------------------


def few_steps(view: View, version: float) -> None:
    """Show samples by few and by many steps side by side, before and after a reflow."""
    run = view.run
    st.markdown(
        "**How few steps are enough?** Each image has the same noise, followed in another number "
        "of steps. A straight trajectory needs one; where they bend, few steps leave them."
    )
    solver = choice("Solver", _fixed(), f"{run.id}.few.solver", format_func=_title)
    shade = theme()
    by = run.id, version, solver, shade
    show_stage(painted(_few_block, by, run, version, solver, shade), key=f"{run.id}.few")
    if plane_of(run).density is not None:
        found = kept(_by_steps, by[:3], run, version, solver, words="Measuring samples")
        _draw_by_steps(run, found)
    if run.config.reflow:
        _reflow(run, shade)


def _fixed() -> list[str]:
    return [name for name, solver in SOLVERS.items() if not solver.embedded]


def _few_block(run: Run, version: float, solver: str, shade: str) -> bytes:
    flow, box = trained_model(run, version), plane_of(run).box()
    panels = []
    for count in COUNTS:
        x = sampled(solved(flow, solver=solver, steps=count), 1500).numpy()
        words = f"{count} step" + "s" * (count > 1)
        panels.append(Panel(words, box, [Points("samples", x)], f"Samples by {words}"))
    return encode(Scene(panels, shade, save=f"{run.id}-steps"))


def _by_steps(run: Run, version: float, solver: str) -> dict[int, float]:
    return by_steps(trained_model(run, version), plane_of(run), solver)


def _draw_by_steps(run: Run, found: dict[int, float]) -> None:
    head = "| Steps | " + " | ".join(map(str, COUNTS)) + " |\n"
    rule = "|---" * (1 + len(COUNTS)) + "|\n"
    row = "| KL of 20,000 samples [nats] | " + " | ".join(f"{found[n]:.3f}" for n in COUNTS) + " |"
    st.markdown(head + rule + row)
    floor = run.metrics.summary().get("kl_floor")
    words = f" 20,000 points of the truth itself come to {floor:.3f}." if floor else ""
    st.caption(f"Of histograms, truth against samples.{words}")


def _reflow(run: Run, shade: str) -> None:
    """Draw trajectories before and after each round of reflow, from the run's snapshots."""
    rounds = range(1, run.config.reflow + 2)
    there = set(run.snapshots.steps())
    steps = [run.config.iterations * k for k in rounds if run.config.iterations * k in there]
    if len(steps) < 2:
        return
    st.markdown("**Reflow.** The same noise, before and after each round:")
    drawn = painted(_reflow_block, (run.id, tuple(steps), shade), run, steps, shade)
    show_stage(drawn, key=f"{run.id}.rounds")


def _reflow_block(run: Run, steps: Sequence[int], shade: str) -> bytes:
    made = []
    for k, step in enumerate(steps):
        trajectories = run.snapshots.load(step)["trajectories"].astype(np.float32)
        reach = max(3.2, float(np.abs(run.snapshots.target()["box"]).max()))
        name = f"after round {k} of reflow" if k else "as trained first"
        layers = [
            Lines("trajectories", trajectories.transpose(1, 0, 2)),
            Points("samples", trajectories[-1], categories(trajectories[0]), size=2.4),
        ]
        title = f"{name}: {bend(trajectories):.1%} longer than straight"
        made.append(Panel(title, (-reach, reach, -reach, reach), layers, f"Trajectories {name}"))
    return encode(Scene(made, shade, save=f"{run.id}-reflow"))


# -- checks ----------------------------------------------------------------------------------------


def checks(view: View, version: float) -> None:
    """Show the numbers that prove the trained flow."""
    by = view.run.id, version
    st.markdown(table_of(kept(_checks, by, view.run, version, words="Measuring")))


def _checks(run: Run, version: float) -> list[Check]:
    return check_flow_matching(trained_model(run, version), plane_of(run))


PLANE_MATCHING = replace(
    PLANE,
    draw=draw_flow_matching,
    sections={"Follow": follow, "Few steps": few_steps, "Check": checks},
)
