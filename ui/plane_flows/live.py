"""What the pages of flows in the plane show of a run: live plots, inside, samples, checks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import streamlit as st
import torch

from analysis.plane_checks import check_plane_flow
from datasets.plane import Plane, load_plane
from figures.charts import curves, journey
from figures.palette import palette
from figures.pictures import (
    colour_bar,
    contact_sheet,
    density_image,
    film,
    hues,
    peak_of,
    png,
    points_image,
    report_figure,
    signed_image,
    warp_svg,
)
from lab.store import Run
from lab.view import View
from models.flow import Flow
from models.layers import Coupling
from training.core.plane_flow import grid_points
from ui.common.family_page import Parts
from ui.common.form import own_points
from ui.common.history import (
    Arrays,
    chosen_frame,
    history_slider,
    rows_of_the_moment,
    target_of,
    tenths,
)
from ui.common.page import show_image, theme

SHEET = 200  # pixels along each side of a thumbnail


# -- live --------------------------------------------------------------------------------------


def draw_plane(view: View) -> None:
    """Draw target, learned density, samples, curves and a slider through the history of a run."""
    shade = theme()
    target = target_of(view)
    if target is None or view.snapshot is None:
        st.caption("The first snapshot comes with the first step.")
        return
    step, snapshot = chosen_frame(view)
    left, middle, right = st.columns(3)
    what = "**Target**: what there is to learn"
    show_image(left, _target_png(view.run.id, shade, target), "Target density", what)
    density = _density_png(view.run.id, step, shade, snapshot["density"], _peak(target, snapshot))
    what = f"**Learned density**, step {step:,}"
    show_image(middle, density, f"Learned density at step {step}", what)
    samples = _samples_png(view.run.id, step, shade, snapshot["samples"], target["box"])
    what = f"**{len(snapshot['samples']):,} samples**, always from the same latents"
    show_image(right, samples, f"Samples at step {step}", what)
    history_slider(view)
    _curves(view, shade)
    _tenths(view, target, shade)


def _curves(view: View, shade: str) -> None:
    rows = rows_of_the_moment(view)
    loss, distance = st.columns(2)
    entropy = _entropy(view.run.id, view.run)
    floor = None if entropy is None else (entropy, f"entropy {entropy:.3f}: no model gets below")
    chart = curves(
        rows,
        {"nll": "training batch", "nll_test": "held-out"},
        unit="NLL [nats]",
        theme=shade,
        total=view.status.total,
        floor=floor,
    )
    loss.vega_lite_chart(*chart, key=f"{view.run.id}.loss", alt="Loss curve")
    if entropy is None:
        last = [row["nll_test"] for row in rows if "nll_test" in row]
        if last:
            distance.metric("Held-out negative log-likelihood", f"{last[-1]:.3f} nats")
        distance.caption(
            "Nobody knows the true density of these points, so there is no KL to it: compare the "
            "two curves. When held-out rises while training falls, it learns points by heart."
        )
        return
    chart = curves(
        rows,
        {"kl_to_truth": "KL"},
        unit="KL to the truth [nats]",
        theme=shade,
        total=view.status.total,
        log=True,
    )
    distance.vega_lite_chart(*chart, key=f"{view.run.id}.kl", alt="KL to the truth")


def _tenths(view: View, target: Arrays, shade: str) -> None:
    """Show the target and the learned density at every tenth of the training done so far."""
    steps = tenths(view)
    if len(steps) < 2:
        return
    sheet = _tenths_png(view.run.id, tuple(steps), shade, view.run, target)
    show_image(st, sheet, "Target and learned density at every tenth")


def _peak(target: Arrays, snapshot: Arrays) -> float:
    return peak_of(target["density"] if "density" in target else snapshot["density"])


def target_image(target: Arrays, shade: str):
    """Paint what there is to learn: its density where that is known, else its points."""
    if "density" in target:
        return density_image(target["density"], peak_of(target["density"]), shade)
    return points_image(target["samples"], target["box"], palette(shade).data, shade)


@st.cache_data(max_entries=32, show_spinner=False)
def _target_png(_run_id: str, shade: str, target: Arrays) -> bytes:
    return png(target_image(target, shade))


@st.cache_data(max_entries=64, show_spinner=False)
def _density_png(run_id: str, step: int, shade: str, _density: np.ndarray, _peak: float) -> bytes:
    return png(density_image(_density, _peak, shade))


@st.cache_data(max_entries=64, show_spinner=False)
def _samples_png(
    run_id: str, step: int, shade: str, _samples: np.ndarray, _box: np.ndarray
) -> bytes:
    return png(points_image(_samples, tuple(_box), palette(shade).model, shade))


@st.cache_data(max_entries=32, show_spinner=False)
def _tenths_png(
    run_id: str, steps: tuple[int, ...], shade: str, _run: Run, _target: Arrays
) -> bytes:
    frames = [_run.snapshot(step)["density"] for step in steps]
    peak = peak_of(_target.get("density", frames[-1]))
    images = [target_image(_target, shade).resize((SHEET, SHEET))]
    images += [density_image(frame, peak, shade, SHEET) for frame in frames]
    blank = density_image(np.zeros((2, 2)), 1, shade, SHEET)
    missing = 11 - len(frames)
    labels = ["target", *(f"step {step:,}" for step in steps), *[""] * missing]
    return contact_sheet(images + [blank] * missing, labels, shade)


@st.cache_data(max_entries=64, show_spinner=False)
def _entropy(run_id: str, _run: Run) -> float | None:
    from datasets.plane import load_plane

    config = _run.config
    return load_plane(config.dataset, config.noise, _run.own_data()).entropy()


# -- inside ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Anatomy:
    """What a trained flow does to a grid and to data, layer by layer, from data to latent.

    Attributes:
        step: optimiser step of the weights.
        names: what each layer is; the first entry is the data itself.
        lines: per state, the grid lines, ``(m, k, 2)``.
        points: per state, data points, ``(n, 2)``.
        stretch: per state, log|det| of the layer before it at each cell of the image, ``(g, g)``.
        moved: per state, whether the layer before it may move each coordinate.
        box: the window of the data.
        latent_box: the window of the latent.
    """

    step: int
    names: list[str]
    lines: list[np.ndarray]
    points: list[np.ndarray]
    stretch: list[np.ndarray]
    moved: list[tuple[bool, bool]]
    box: tuple[float, float, float, float]
    latent_box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Trained:
    """A flow with the weights of a run, beside the density that it learned.

    Attributes:
        flow: on the CPU, without gradients.
        plane: the data.
        step: optimiser step of the weights.
    """

    flow: Flow
    plane: Plane
    step: int


@st.cache_resource(max_entries=8, show_spinner=False)
def _trained(run_id: str, version: float, _run: Run) -> Trained:
    # Not the whole training: its optimiser would import seconds' worth of torch into the server.
    config = _run.config
    blank = torch.Generator().manual_seed(0)  # the weights are replaced at once
    flow = _run.family.training.model(config, generator=blank)
    step = _run.load_model(flow)
    flow.eval().requires_grad_(False)
    return Trained(flow, load_plane(config.dataset, config.noise, _run.own_data()), step)


@st.cache_resource(max_entries=8, show_spinner=False)
def _anatomy(run_id: str, version: float, _run: Run) -> Anatomy:
    trained = _trained(run_id, version, _run)
    flow, box = trained.flow, trained.plane.box()
    lines = grid_lines(box)
    points = trained.plane.held_out(600, torch.Generator().manual_seed(5))[:600]
    cells = grid_points(box, 72)
    start = torch.cat([torch.from_numpy(lines.reshape(-1, 2)), points, cells])
    names, states, dets, moved = ["the data"], [], [], [(False, False)]
    with torch.no_grad():
        for state in flow.inverse_states(start):
            states.append(state.value.numpy())
            dets.append(state.log_det.numpy())
            if state.layer is not None:
                names.append(type(state.layer).__name__)
                moved.append(_moves(state.layer))
    count = lines.shape[0] * lines.shape[1]
    steps = [np.zeros((72, 72))]
    steps += [(b - a)[-72 * 72 :].reshape(72, 72) for a, b in pairwise(dets)]
    latent = np.abs(states[-1][count : count + len(points)])
    reach = max(3.2, float(np.quantile(latent, 0.995)) * 1.15)
    return Anatomy(
        step=trained.step,
        names=names,
        lines=[s[:count].reshape(lines.shape) for s in states],
        points=[s[count : count + len(points)] for s in states],
        stretch=steps,
        moved=moved,
        box=box,
        latent_box=(-reach, reach, -reach, reach),
    )


def grid_lines(box: tuple[float, float, float, float], count: int = 17) -> np.ndarray:
    """Return the lines of a grid over a window, each with 61 corners: ``(2 count, 61, 2)``."""
    x0, x1, y0, y1 = box
    along, across = np.linspace(0, 1, 61), np.linspace(0, 1, count)
    a, b = np.meshgrid(along, across)
    upright = np.stack([x0 + b * (x1 - x0), y0 + a * (y1 - y0)], -1)
    level = np.stack([x0 + a * (x1 - x0), y0 + b * (y1 - y0)], -1)
    return np.concatenate([upright, level]).astype(np.float32)


def _moves(layer: torch.nn.Module) -> tuple[bool, bool]:
    if not isinstance(layer, Coupling):
        return True, True
    passive = layer.passive(2)
    return 0 not in passive, 1 not in passive


def see_inside(view: View, version: float) -> None:
    """Show grid and points after each layer, the log-det map, and one point on its way through."""
    anatomy = _anatomy(view.run.id, version, view.run)
    shade, last = theme(), len(anatomy.names) - 1
    words, button = st.columns([5, 1], vertical_alignment="center")
    words.caption(
        f"Weights of step {anatomy.step:,}. The flow runs from the data to the latent here; "
        "generating runs the same layers backwards."
    )
    if view.status.state == "running":
        button.button(
            "Newer",
            icon=":material/refresh:",
            help="Look into the newest weights.",
            on_click=lambda: st.session_state.pop(f"{view.run.id}.weights", None),
        )
    layer = st.slider(
        "After layer",
        0,
        last,
        last,
        key=f"{view.run.id}.layer",
        help="0 is the data, the last one the latent, where the points should look like the prior.",
    )
    name = anatomy.names[layer]
    what = "before the first layer" if layer == 0 else f"after layer {layer} of {last}, {name}"
    if layer == last:
        what += ": the latent"
    x, y = _point_sliders(view, anatomy)
    path = _path_of(_trained(view.run.id, version, view.run).flow, (x, y))
    grid, stretch = st.columns(2)
    with grid:
        _space(anatomy, layer, what, path, shade)
    with stretch:
        _stretch(view, anatomy, layer, what, shade)
    st.markdown("**Your point, coordinate by coordinate**")
    st.vega_lite_chart(
        *journey(path.tolist(), anatomy.moved, shade),
        key=f"{view.run.id}.journey",
        alt="The two coordinates of one point through the layers",
    )
    st.caption(
        "A filled mark: the layer could move this coordinate (active). A hollow one: it had to "
        "leave it as it was (passive), and used it to decide how far to move the other."
    )


def _space(anatomy: Anatomy, layer: int, what: str, path: np.ndarray, shade: str) -> None:
    """Draw the grid, the data and the way of one point as they are after a layer."""
    st.markdown(f"**Space {what}**")
    svg = warp_svg(
        anatomy.lines[layer],
        anatomy.points[layer],
        hues(anatomy.points[0], shade),
        _window(anatomy, layer),
        shade,
        path[: layer + 1],
    )
    words = "Colours mark where a point started. The red dot is your point, with its way."
    show_image(st, svg, f"Grid and points {what}", words)


def _stretch(view: View, anatomy: Anatomy, layer: int, what: str, shade: str) -> None:
    """Draw where space is stretched and where it shrinks, over the window of the data."""
    so_far = st.segmented_control(
        "Stretch",
        ["Stretch so far", "By this layer"],
        default="Stretch so far",
        required=True,
        label_visibility="collapsed",
        key=f"{view.run.id}.stretch",
    ).endswith("far")
    maps = np.cumsum(anatomy.stretch, axis=0) if so_far else np.stack(anatomy.stretch)
    values, limit = maps[layer], max(0.05, float(np.quantile(np.abs(maps), 0.999)))
    show_image(st, png(signed_image(values, limit, shade)), f"Log-determinant {what}")
    bar = colour_bar(f"shrinks, {-limit:.1f} nats", f"stretches, +{limit:.1f} nats", shade)
    show_image(st, bar, "Colour bar", _stretch_words(layer, values, so_far))


def _point_sliders(view: View, anatomy: Anatomy) -> tuple[float, float]:
    x0, x1, y0, y1 = (round(float(v), 2) for v in anatomy.box)
    first = anatomy.points[0][0]
    left, right = st.columns(2)
    x = left.slider("Your point, coordinate 1", x0, x1, round(float(first[0]), 2), 0.01)
    y = right.slider("Your point, coordinate 2", y0, y1, round(float(first[1]), 2), 0.01)
    return x, y


def _path_of(flow: Flow, point: tuple[float, float]) -> np.ndarray:
    with torch.no_grad():
        states = flow.inverse_states(torch.tensor([point]))
        return np.stack([state.value[0].numpy() for state in states])


def _window(anatomy: Anatomy, layer: int) -> tuple[float, float, float, float]:
    """Slide from the window of the data to that of the latent: the image must not jump."""
    share = layer / (len(anatomy.names) - 1)
    pairs = zip(anatomy.box, anatomy.latent_box, strict=True)
    return tuple(a * (1 - share) + b * share for a, b in pairs)


def _stretch_words(layer: int, values: np.ndarray, so_far: bool) -> str:
    if layer == 0:
        return "Nothing has been done to the data yet."
    who = "All layers so far" if so_far else "This layer"
    if np.abs(values).max() < 1e-4:
        return f"{who}: every area is kept as it is, log|det| is zero everywhere."
    if np.ptp(values) < 1e-4:
        return f"{who}: every place is scaled alike, log|det| is {values.mean():+.3f} nats."
    return f"{who}: log|det| from {values.min():+.2f} to {values.max():+.2f} nats."


# -- explore and check -------------------------------------------------------------------------


def explore(view: View, version: float) -> None:
    """Let one sample from the trained flow at a temperature."""
    trained, shade = _trained(view.run.id, version, view.run), theme()
    controls, latent, data = st.columns([1, 1.4, 1.4])
    with controls:
        temperature = st.slider(
            "Temperature",
            0.1,
            2.0,
            1.0,
            0.05,
            help="Scales the latents. Below 1: safe, typical points. Above 1: the flow goes where "
            "it saw no data.",
        )
        count = st.select_slider("Samples", [200, 500, 1000, 2000, 5000, 10000], 2000)
        seed = st.number_input("Seed of the latents", 0, 2**31 - 1, 0)
    z = trained.flow.prior.sample(
        count, generator=torch.Generator().manual_seed(seed), temperature=temperature
    )
    with torch.no_grad():
        x = trained.flow.forward(z)[0].numpy()
    anatomy = _anatomy(view.run.id, version, view.run)
    colours = palette(shade)
    drawn = png(points_image(z.numpy(), anatomy.latent_box, colours.muted, shade))
    show_image(latent, drawn, "Latents", "**Latents**, drawn from the prior")
    drawn = png(points_image(x, anatomy.box, colours.model, shade))
    show_image(data, drawn, "Samples", "**The same points after the flow**")
    restored = trained.plane.restore(torch.from_numpy(x)).numpy()
    controls.download_button(
        "Samples as CSV",
        lambda: "x1,x2\n" + "".join(f"{a:.6g},{b:.6g}\n" for a, b in restored),
        f"{view.run.id}-samples.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
        help="In the data's own units.",
    )


def checks(view: View, version: float) -> None:
    """Show the numbers that prove the trained flow."""
    with st.spinner("Measuring"):
        results = _checks(view.run.id, version, view.run)
    words = {True: ":green-badge[right]", False: ":red-badge[not right]", None: ""}
    lines = ["| What | Measured | Should be | | How |", "|---|---:|---|---|---|"]
    for check in results:
        cells = (check.name, check.value, check.expected, words[check.passed], check.how)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    st.markdown("\n".join(lines))


@st.cache_data(max_entries=32, show_spinner=False)
def _checks(run_id: str, version: float, _run: Run) -> list:
    trained = _trained(run_id, version, _run)
    return check_plane_flow(trained.flow, trained.plane)


# -- take away ---------------------------------------------------------------------------------


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the snapshots in its folder."""
    target = run.target()
    frames = [(step, run.snapshot(step)["density"]) for step in run.snapshot_steps()]
    peak = peak_of(target.get("density", frames[-1][1]))
    return film(frames, target_image(target, shade), peak, shade)


def figure_of(run: Run, _shade: str) -> bytes:
    """Return target, learned density and curves of a run on one page, on white."""
    step = run.snapshot_steps()[-1]
    config = run.config
    title = f"{run.family.title} on {config.dataset}, step {step:,}, seed {config.seed}"
    return report_figure(run.target(), run.snapshot(step), run.metrics(), title)


PLANE = Parts(
    data=own_points,
    draw=draw_plane,
    sections={"See inside": see_inside, "Explore": explore, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Figure, 200 dpi (PNG)", figure_of),
    },
)
