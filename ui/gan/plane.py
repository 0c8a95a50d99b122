"""What the page of GANs in 2-D shows of a run: the duel, its health, what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
import torch
from PIL import Image

from figures.gan_charts import mode_bars
from figures.gan_figures import duel_report, film_of_duel, real_and_fake, shortened
from lab.store import Run
from lab.view import View
from metrics.gan_health import health
from metrics.plane import SAMPLES, Truth
from metrics.samples import Look
from training.core.gan_losses import LOSSES
from ui.common.cached import kept
from ui.common.curves import draw_curves, last_with
from ui.common.history import Arrays, Moment, last_snapshot, live
from ui.common.page import theme
from ui.common.plain import markdown
from ui.common.trained import trained_experiment
from ui.gan.health import samples_of, show_light, show_look
from ui.gan.inside import HALF, belief_of, loss_of, see_inside
from ui.gan.losses import losses
from ui.gan.model import WITHOUT, choose_average
from ui.guide.family_page import Parts
from ui.plane_flows.own import own_or_drawn
from ui.plane_flows.points import (
    SHEET,
    count_and_generator,
    draw_tenths,
    paint_points,
    plane_of,
    show_points,
    take_points,
)
from ui.stage.scene import Arrows, Heat, Mesh, Panel, Points
from ui.stage.training import show_training

SCORES = {
    "modes": ("Modes covered", "{:.0f}", "A mode counts as covered when it gets at least a tenth "
              "of the samples that it should."),
    "good": ("Good samples", "{:.1%}", "Fraction of samples within 3 standard deviations of a "
             "mode. The rest of a perfect generator's lie in the tails."),
    "kl_to_truth": ("KL [nats]", "{:.3f}", "KL(truth || samples) over a histogram of "
                    "40 x 40 bins, half a count added to each."),
    "js_to_truth": ("JS [nats]", "{:.4f}", "Jensen-Shannon divergence over the same "
                    "bins: from 0 to log 2 = 0.693."),
}  # fmt: skip


# -- live --------------------------------------------------------------------------------------


@live
def draw_duel(moment: Moment) -> None:
    """Draw the duel with its history, its health and losses beside it, and its numbers below."""
    left, right = st.columns([1.25, 1])
    with left:
        show_training(moment, panels)
        st.caption(
            "Orange: real, and where the discriminator says so. Blue: fake, and the latent square "
            "bent by the generator, the denser the more opaque. Arrows: where the gradient pushes "
            "a fake point, long ones shortened."
        )
    look = samples_of(moment)
    with right:
        show_health(moment, look, _modes(moment.run))
        draw_losses(moment, st)
        show_beliefs(moment)
    left, right = st.columns([1.25, 1])
    with left:
        _scores(moment)
        _distances(moment)
    with right:
        show_look(look)
        show_loss(moment)
    draw_tenths(moment, _tenths, "real", "Real and fake points at every tenth")


def panels(moment: Moment, frames: Sequence[Arrays]) -> list[Panel]:
    """Return the duel with a frame per snapshot, layer over layer."""
    realness, lattice, fake, pushes = (
        np.stack([frame[name] for frame in frames])
        for name in ("realness", "lattice", "samples", "arrows")
    )
    arrows = np.concatenate([fake[:, : pushes.shape[1]], shortened(pushes)], axis=2)
    layers = [
        Heat("Discriminator", realness, 1.0, name=belief_of(moment.view), **HALF),
        Mesh("Generator", lattice),
        Points("Real", moment.target["samples"], "data", size=2.2, rim=True),
        Points("Fake", fake, size=2.2, rim=True),
        Arrows("Gradients", arrows),
    ]
    return [Panel("The duel", moment.target["box"], layers, "The duel")]


def show_health(moment: Moment, look: Look | None, modes: int = 0) -> None:
    """Draw the health light of a duel; ``look`` is at its samples."""
    view = moment.view
    found = health(view.rows, view.status.total, modes, look)
    names = {"collapse": "Mode collapse", "far": "Far from real"}
    show_light(moment.run, found, discriminator="Discriminator", **names)


def show_loss(moment: Moment) -> None:
    """Say what the loss of a duel is about."""
    st.caption(LOSSES[loss_of(moment.view)].about)


def _modes(run: Run) -> int:
    truth = truth_of(run)
    return len(truth.weights) if truth is not None and truth.mixture is not None else 0


def _scores(moment: Moment) -> None:
    if truth_of(moment.run) is None:
        st.caption("Nobody knows the true density of these points, so samples have no score.")
        return
    last = last_with(moment.view.rows, "diversity")
    if last is None:
        return
    perfect = floor_of(moment.run)
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


def show_beliefs(moment: Moment) -> None:
    """Draw how real the discriminator takes real and fake examples to be."""
    alt = "How real the discriminator takes real and fake examples to be"
    names = {"d_fake": "fake", "d_real": "real"}
    draw_curves(moment, st, "beliefs", names, "taken for real", alt, height=170)


def draw_losses(moment: Moment, where) -> None:
    """Draw the losses of discriminator and generator."""
    names = {"g_loss": "generator", "d_loss": "discriminator"}
    draw_curves(moment, where, "loss", names, "loss", "Losses of both networks")


def _distances(moment: Moment) -> None:
    if last_with(moment.rows, "js_to_truth"):
        names, unit = {"js_to_truth": "JS", "kl_to_truth": "KL"}, "distance to the truth [nats]"
        draw_curves(moment, st, "distance", names, unit, "KL and JS to the truth", log=True)


def _tenths(run: Run, steps: Sequence[int], shade: str) -> list[Image.Image]:
    target = run.snapshots.target()
    images = [paint_points(target["samples"], target["box"], "data", shade)]
    frames = [run.snapshots.load(step)["samples"] for step in steps]
    return images + [real_and_fake(frame, target, shade, SHEET) for frame in frames]


# -- the truth ---------------------------------------------------------------------------------


def truth_of(run: Run) -> Truth | None:
    """Return what is known of the density that a run learns."""
    return kept(Truth.of, (str(run.path),), plane_of(run))


def floor_of(run: Run) -> Mapping[str, float]:
    """Return what a perfect generator scores, under the names of the metrics of a run."""
    return kept(_floor, (str(run.path),), run)


def _floor(run: Run) -> Mapping[str, float]:
    return _named(truth_of(run).floor())


def _named(scores: Mapping[str, float]) -> dict[str, float]:
    """Return scores under the names of the metrics of a run."""
    return {{"kl": "kl_to_truth", "js": "js_to_truth"}.get(k, k): v for k, v in scores.items()}


# -- explore, check ------------------------------------------------------------------------------


def explore(view: View, version: float) -> None:
    """Let one draw samples and take them along."""
    experiment, shade = trained_experiment(view.run, version), theme()
    controls, shown, real = st.columns([1, 1.4, 1.4])
    with controls:
        count, generator = count_and_generator()
        spread = st.slider(
            "Scale of the latents",
            0.1,
            2.0,
            1.0,
            0.05,
            help="1 is what it was trained with. Below, samples come from the middle of the latent "
            "plane; above, from where the generator never was.",
        )
        averaged = choose_average(experiment.model, f"{view.run.id}.average")
    maker = experiment.model if averaged else experiment.model.generator
    x = maker(spread * experiment.model.draw(count, generator))
    box, words = experiment.window, f"**{count:,} samples**"
    show_points(shown, x, box, "model", shade, "Samples", words)
    others = experiment.plane.held_out(count, generator)[:count]
    words = f"**{len(others):,} real points**"
    show_points(real, others, box, "data", shade, "Real points", words)
    take_points(controls, view.run, x)


def checks(view: View, version: float) -> None:
    """Show the numbers of fresh samples beside those of a perfect and of a trivial generator."""
    truth = truth_of(view.run)
    if truth is None:
        st.info(
            "Nobody knows the true density of your own points, so there is nothing to compare "
            "samples with. Choose one of the lab's sets to see the numbers."
        )
        return
    by = view.run.id, version
    rows, found = kept(_measured, by, view.run, version, words="Measuring")
    lines = []
    for name in rows["this generator"]:
        label, form, _ = SCORES[name]
        lines.append((label, *(form.format(numbers[name]) for numbers in rows.values())))
    st.markdown(markdown(("", *rows), lines))
    st.caption(
        f"{SAMPLES:,} fresh samples of each. Perfect: samples of the truth, the floor of these "
        "numbers. Trivial: one Gaussian with the mean and the standard deviations of the data."
    )
    if found is not None:
        chart = mode_bars(found, truth.weights.numpy(), theme())
        alt = "Fraction of the samples at each mode"
        st.vega_lite_chart(*chart, key=f"{view.run.id}.modes", alt=alt)


def _measured(run: Run, version: float) -> tuple[dict[str, dict[str, float]], np.ndarray | None]:
    """Return scores by who made the samples, and the fraction of the samples at each mode."""
    experiment, truth = trained_experiment(run, version), truth_of(run)
    fresh = torch.Generator().manual_seed(6)
    z = experiment.model.draw(SAMPLES, fresh)
    x, trivial = experiment.model(z), torch.randn(SAMPLES, 2, generator=fresh)
    found = {"this generator": _named(truth.score(x))}
    if experiment.model.average is not None:
        found[WITHOUT] = _named(truth.score(experiment.model.generator(z)))
    found["a trivial one"] = _named(truth.score(trivial))
    found["a perfect one"] = dict(floor_of(run))
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
    step, config = run.snapshots.steps()[-1], run.config
    title = f"GAN on {config.dataset}, {config.loss} loss, step {step:,}, seed {config.seed}"
    return duel_report(run.snapshots.target(), last_snapshot(run), run.metrics.rows(), title)


DUEL = Parts(
    data=own_or_drawn,
    draw=draw_duel,
    sections={
        "See inside": see_inside,
        "Explore": explore,
        "Check": checks,
        "Losses": losses,
    },
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Figure, 200 dpi (PNG)", figure_of),
    },
)
