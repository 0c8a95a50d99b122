"""What the page of GANs in the plane shows of a run: the duel, its health, what came of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import streamlit as st
import torch

from datasets.plane import load_plane
from figures.charts import curves
from figures.gan_charts import mode_bars
from figures.gan_figures import LAYERS, duel_image, duel_report, film_of_duel, real_and_fake
from figures.palette import palette
from figures.pictures import contact_sheet, hues, png, points_image, warp_svg
from lab.store import Run
from lab.view import View
from metrics.gan_health import Health, health
from metrics.plane import SAMPLES, Truth
from training.core.gan_losses import LOSSES
from training.gan import LATTICE, PlaneGAN
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
LIGHTS = {
    "unknown": (":gray-badge[:material/hourglass_empty: Too early]", st.info),
    "balanced": (":green-badge[:material/balance: Balanced]", st.info),
    "won": (":red-badge[:material/gavel: Discriminator has won]", st.warning),
    "collapse": (":red-badge[:material/filter_center_focus: Mode collapse]", st.warning),
    "oscillation": (":orange-badge[:material/sync: Oscillation]", st.warning),
}
SCORES = {
    "modes": ("Modes covered", "{:.0f}", "A mode counts as covered when it gets at least a tenth "
              "of the samples that it should."),
    "good": ("Good samples", "{:.1%}", "Share of samples within 3 standard deviations of a mode. "
             "The rest of a perfect generator's lie in the tails."),
    "kl_to_truth": ("KL [nats]", "{:.3f}", "KL(truth || samples) over a histogram of "
                    "40 x 40 bins, half a count added to each."),
    "js_to_truth": ("JS [nats]", "{:.4f}", "Jensen-Shannon divergence over the same "
                    "bins: from 0 to log 2 = 0.693."),
}  # fmt: skip


# -- live --------------------------------------------------------------------------------------


def draw_duel(view: View) -> None:
    """Draw the duel, its health, its numbers and a slider through its history."""
    shade = theme()
    target = target_of(view)
    if target is None or view.snapshot is None:
        st.caption("The first snapshot comes with the first step.")
        return
    step, snapshot = chosen_frame(view)
    left, right = st.columns([1.25, 1])
    with left:
        layers = st.pills(
            "Layers",
            LAYERS,
            default=LAYERS,
            selection_mode="multi",
            key="gan.layers",
            persist_state="session",
            label_visibility="collapsed",
        )
        drawn = _duel_png(view.run.id, step, shade, tuple(sorted(layers)), snapshot, target)
        words = (
            f"**Step {step:,}.** Orange: real, and where the discriminator says so. Blue: fake, "
            "and the latent square bent by the generator, the denser the more opaque. Arrows: "
            "where the gradient pushes a fake point."
        )
        show_image(st, drawn, f"The duel at step {step}", words)
    with right:
        show_health(view, _modes(view))
        _scores(view)
        show_beliefs(view, shade)
    history_slider(view)
    _curves(view, shade)
    steps = tenths(view)
    if len(steps) > 1:
        sheet = _tenths_png(view.run.id, tuple(steps), shade, view.run, target)
        show_image(st, sheet, "Real and fake points at every tenth")


def show_health(view: View, modes: int = 0) -> Health:
    """Draw the health light of a duel and return what it shows."""
    found = health(view.rows, view.status.total, modes)
    badge, box = LIGHTS[found.state]
    st.markdown(f"**Health** {badge}")
    box(found.words + (f"\n\n**What to try.** {found.advice}" if found.advice else ""))
    loss = view.live.get("loss", view.run.config.loss)
    st.caption(LOSSES[loss].about)
    return found


def _modes(view: View) -> int:
    truth = truth_of(view.run.id, view.run)
    return len(truth.weights) if truth is not None and truth.mixture is not None else 0


def _scores(view: View) -> None:
    measured = [row for row in view.rows if "diversity" in row]
    truth = truth_of(view.run.id, view.run)
    if truth is None:
        st.caption("Nobody knows the true density of these points, so samples have no score.")
        return
    if not measured:
        return
    last, perfect = measured[-1], floor_of(view.run.id, view.run)
    names = [name for name in SCORES if name in last]
    for place, name in zip(st.columns(2) * 2, names, strict=False):
        label, form, help = SCORES[name]
        place.metric(
            label,
            form.format(last[name]),
            f"perfect: {form.format(perfect[name])}",
            delta_color="off",
            delta_arrow="off",
            help=f"{help} Of {SAMPLES:,} samples, at step {last['step']:,}; below it, what as many "
            "samples of the truth itself score.",
        )


def show_beliefs(view: View, shade: str) -> None:
    """Draw how real the discriminator takes real and fake examples to be."""
    drawn = curves(
        rows_of_the_moment(view),
        {"d_fake": "fake", "d_real": "real"},
        unit="taken for real",
        theme=shade,
        total=view.status.total,
        height=170,
    )
    alt = "How real the discriminator takes real and fake examples to be"
    st.vega_lite_chart(*drawn, key=f"{view.run.id}.beliefs", alt=alt)


def draw_losses(view: View, shade: str, where) -> None:
    """Draw the losses of discriminator and generator."""
    drawn = curves(
        rows_of_the_moment(view),
        {"g_loss": "generator", "d_loss": "discriminator"},
        unit="loss",
        theme=shade,
        total=view.status.total,
    )
    where.vega_lite_chart(*drawn, key=f"{view.run.id}.loss", alt="Losses of both networks")


def _curves(view: View, shade: str) -> None:
    left, right = st.columns(2)
    draw_losses(view, shade, left)
    rows = rows_of_the_moment(view)
    if not any("js_to_truth" in row for row in rows):
        return
    drawn = curves(
        rows,
        {"js_to_truth": "JS", "kl_to_truth": "KL"},
        unit="distance to the truth [nats]",
        theme=shade,
        total=view.status.total,
        log=True,
    )
    right.vega_lite_chart(*drawn, key=f"{view.run.id}.distance", alt="KL and JS to the truth")


@st.cache_data(max_entries=64, show_spinner=False)
def _duel_png(
    run_id: str, step: int, shade: str, layers: tuple[str, ...], _snapshot: Arrays, _target: Arrays
) -> bytes:
    return png(duel_image(_snapshot, _target, layers, shade))


@st.cache_data(max_entries=32, show_spinner=False)
def _tenths_png(
    run_id: str, steps: tuple[int, ...], shade: str, _run: Run, _target: Arrays
) -> bytes:
    first = points_image(_target["samples"], tuple(_target["box"]), palette(shade).data, shade)
    images = [first.resize((SHEET, SHEET))]
    images += [
        real_and_fake(_run.snapshots.load(step)["samples"], _target, shade, SHEET) for step in steps
    ]
    # The sheet keeps its size while the training goes on.
    missing = 11 - len(steps)
    blank = points_image(np.zeros((0, 2)), (0, 1, 0, 1), palette(shade).data, shade, SHEET)
    labels = ["real", *(f"step {step:,}" for step in steps), *[""] * missing]
    return contact_sheet(images + [blank] * missing, labels, shade)


# -- the truth ---------------------------------------------------------------------------------


@st.cache_resource(max_entries=16, show_spinner=False)
def truth_of(run_id: str, _run: Run) -> Truth | None:
    """Return what is known of the density that a run learns."""
    config = _run.config
    return Truth.of(load_plane(config.dataset, config.noise, _run.own_data()))


@st.cache_data(max_entries=16, show_spinner=False)
def floor_of(run_id: str, _run: Run) -> Mapping[str, float]:
    """Return what a perfect generator scores, under the names of the metrics of a run."""
    found = dict(truth_of(run_id, _run).floor())
    return {"kl_to_truth": found.pop("kl"), "js_to_truth": found.pop("js"), **found}


# -- inside, explore, check ----------------------------------------------------------------------


@st.cache_resource(max_entries=8, show_spinner=False)
def _trained(run_id: str, version: float, _run: Run) -> PlaneGAN:
    experiment = _run.experiment("cpu")
    experiment.step = _run.weights.load_into(experiment.model)
    experiment.model.eval().requires_grad_(False)
    return experiment


def see_inside(view: View, version: float) -> None:
    """Show which latents become which points, and how sure the discriminator is along a line."""
    experiment, shade = _trained(view.run.id, version, view.run), theme()
    st.caption(
        f"Weights of step {experiment.step:,}. The generator is a map of the latent plane into the "
        "plane of the data: nothing can be torn, so between two modes there is always a bridge."
    )
    latent, data = st.columns(2)
    reach = 1.0 if view.run.config.prior == "uniform" else 2.6
    first = latent.slider("Latent 1", -reach, reach, 0.0, 0.05, key=f"{view.run.id}.z1")
    second = data.slider("Latent 2", -reach, reach, 0.0, 0.05, key=f"{view.run.id}.z2")
    point = torch.tensor([[first, second]])
    place = experiment.model(point)
    taken = torch.sigmoid(experiment.model.discriminator(place))
    before, after = _maps(shade, experiment, first, second)
    show_image(latent, before, "The latent plane", "**Latents.** The red dot is yours.")
    words = (
        f"**The same after the generator.** Your point lands at ({place[0, 0]:.2f}, "
        f"{place[0, 1]:.2f}), standardised."
    )
    if LOSSES[view.run.config.loss].real is torch.sigmoid:
        words += f" The discriminator takes it for real with probability {float(taken):.2f}."
    show_image(data, after, "The data plane", words)


def _maps(shade: str, experiment: PlaneGAN, first: float, second: float) -> tuple[str, str]:
    """Return the lattice, some latents and one chosen point, before and after the generator."""
    lattice = experiment.lattice.view(LATTICE, LATTICE, 2)
    # Lines with corners between the crossings: a straight piece between two would lie.
    lines = torch.cat([lattice, lattice.transpose(0, 1)])  # (2 k, k, 2)
    shares = torch.linspace(0, 1, 5)[:-1, None]
    pieces = lines[:, :-1, None] * (1 - shares) + lines[:, 1:, None] * shares
    lines = torch.cat([pieces.flatten(1, 2), lines[:, -1:]], 1)
    latents = experiment.latents[:600]
    chosen = torch.tensor([[first, second]])
    colours = hues(latents.numpy(), shade)
    reach = 1.1 if experiment.config.prior == "uniform" else 3.0
    box = (-reach, reach, -reach, reach)
    before = warp_svg(lines.numpy(), latents.numpy(), colours, box, shade, chosen.numpy())
    bent = experiment.model(lines.reshape(-1, 2)).view(lines.shape)
    points, landed = experiment.model(latents), experiment.model(chosen)
    window = experiment.window
    after = warp_svg(bent.numpy(), points.numpy(), colours, window, shade, landed.numpy())
    return before, after


def explore(view: View, version: float) -> None:
    """Let one draw samples and take them along."""
    experiment, shade = _trained(view.run.id, version, view.run), theme()
    controls, shown, real = st.columns([1, 1.4, 1.4])
    with controls:
        count = st.select_slider("Samples", [200, 500, 1000, 2000, 5000, 10000], 2000)
        seed = st.number_input("Seed of the latents", 0, 2**31 - 1, 0)
        spread = st.slider(
            "Scale of the latents",
            0.1,
            2.0,
            1.0,
            0.05,
            help="1 is what it was trained with. Below, samples come from the middle of the latent "
            "plane; above, from where the generator never was.",
        )
    z = spread * experiment.model.draw(count, torch.Generator().manual_seed(seed))
    x = experiment.model(z)
    box, colours = experiment.window, palette(shade)
    drawn = png(points_image(x.numpy(), box, colours.model, shade))
    show_image(shown, drawn, "Samples", f"**{count:,} samples**")
    others = experiment.plane.held_out(count, torch.Generator().manual_seed(seed))[:count]
    drawn = png(points_image(others.numpy(), box, colours.data, shade))
    show_image(real, drawn, "Real points", f"**{len(others):,} real points**")
    restored = experiment.plane.restore(x).numpy()
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
    """Show the numbers of fresh samples beside those of a perfect and of a trivial generator."""
    truth = truth_of(view.run.id, view.run)
    if truth is None:
        st.info(
            "Nobody knows the true density of your own points, so there is nothing to compare "
            "samples with. Choose one of the lab's sets to see the numbers."
        )
        return
    rows, shares = _measured(view.run.id, version, view.run)
    lines = ["| | " + " | ".join(rows) + " |", "|---|" + "---:|" * len(rows)]
    for name in rows["this generator"]:
        label, form, _ = SCORES[name]
        cells = [form.format(numbers[name]) for numbers in rows.values()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    st.markdown("\n".join(lines))
    st.caption(
        f"{SAMPLES:,} fresh samples of each. Perfect: samples of the truth, the floor of these "
        "numbers. Trivial: one Gaussian with the mean and the standard deviations of the data."
    )
    if shares is not None:
        chart = mode_bars(shares, truth.weights.numpy(), theme())
        alt = "Share of the samples at each mode"
        st.vega_lite_chart(*chart, key=f"{view.run.id}.modes", alt=alt)


@st.cache_data(max_entries=32, show_spinner="Measuring")
def _measured(
    run_id: str, version: float, _run: Run
) -> tuple[dict[str, dict[str, float]], np.ndarray | None]:
    """Return the scores by who made the samples, and the share of the samples at each mode."""
    experiment, truth = _trained(run_id, version, _run), truth_of(run_id, _run)
    fresh = torch.Generator().manual_seed(6)
    x = experiment.model(experiment.model.draw(SAMPLES, fresh))
    trivial = torch.randn(SAMPLES, 2, generator=fresh)
    found = {"this generator": truth.score(x), "a trivial one": truth.score(trivial)}
    found = {
        who: {"kl_to_truth": numbers.pop("kl"), "js_to_truth": numbers.pop("js"), **numbers}
        for who, numbers in found.items()
    }
    found["a perfect one"] = dict(floor_of(run_id, _run))
    if truth.mixture is None:
        return found, None
    modes = truth.modes_of(x)
    hits = torch.bincount(modes[modes >= 0], minlength=len(truth.weights))
    return found, (hits / len(x)).numpy()


# -- take away ---------------------------------------------------------------------------------


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the snapshots in its folder."""
    frames = ((step, run.snapshots.load(step)) for step in run.snapshots.steps())
    return film_of_duel(frames, run.snapshots.target(), shade)


def figure_of(run: Run, _shade: str) -> bytes:
    """Return the duel, its losses and what came of it on one page, on white."""
    step = run.snapshots.steps()[-1]
    config = run.config
    title = f"GAN on {config.dataset}, {config.loss} loss, step {step:,}, seed {config.seed}"
    return duel_report(run.snapshots.target(), run.snapshots.load(step), run.metrics.rows(), title)


DUEL = Parts(
    data=own_points,
    draw=draw_duel,
    sections={"See inside": see_inside, "Explore": explore, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Figure, 200 dpi (PNG)", figure_of),
    },
)
