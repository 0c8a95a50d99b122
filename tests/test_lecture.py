"""Films and sheets that people take away are large enough for a lecture."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from figures.images import LECTURE, curves_report
from lab.store import Run
from paths import ASSETS
from ui.cyclegan import live as cyclegan
from ui.gan.images import IMAGE_DUEL
from ui.gan.plane import DUEL
from ui.image_flows import sheets
from ui.maf import live as maf
from ui.plane_flows.live import PLANE
from ui.vae.plane import PLANE_VAE

IMAGES = {"gif": sheets.film_of, "png": sheets.sheet_of}
PAIRS = {"gif": cyclegan.film_of, "ab": cyclegan.sheet_of("ab"), "ba": cyclegan.sheet_of("ba")}


def made_by(parts) -> dict:
    return {ending: make for ending, (_, make) in parts.files.items() if ending != "pdf"}


FILES = {
    **dict.fromkeys(("nice", "realnvp", "glow_plane", "maf_plane"), made_by(PLANE)),
    **dict.fromkeys(("glow", "realnvp_images", "nice_images", "vae"), IMAGES),
    **dict.fromkeys(("gan_images", "dcgan"), made_by(IMAGE_DUEL)),
    "gan": made_by(DUEL),
    "vae_plane": made_by(PLANE_VAE),
    "maf": {"gif": maf.film_of},
    "cyclegan": PAIRS,
}


@pytest.mark.parametrize("stem", FILES)
def test_films_and_sheets_are_large(stem, tmp_path: Path):
    shutil.copytree(ASSETS / "runs" / stem, tmp_path / stem)
    run = Run(tmp_path / stem)
    for step in run.snapshots.steps()[1:-1]:
        (run.path / "snapshots" / f"{step:08d}.npz").unlink()
    for ending, make in FILES[stem].items():
        with Image.open(io.BytesIO(make(run, "dark"))) as image:
            assert image.format == ("GIF" if ending == "gif" else "PNG")
            assert max(image.size) >= LECTURE, ending


def test_a_figure_is_there_to_print_with_the_scale_of_the_page():
    run = Run(ASSETS / "runs" / "realnvp")
    pdf = PLANE.files["pdf"][1](run, "light")
    assert pdf.startswith(b"%PDF") and len(pdf) > 10_000


@pytest.mark.parametrize("stem", ["vae", "gan", "glow"])
def test_curves_of_every_family_are_there_to_print(stem):
    run = Run(ASSETS / "runs" / stem)
    svg = curves_report(run.metrics.rows(), "title", "svg")
    assert svg.count(b'<g id="axes_') == len({n for row in run.metrics.rows() for n in row}) - 2
