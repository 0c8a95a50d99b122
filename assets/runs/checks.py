"""The lab's own Check on the runs that ship: what does not pass does not ship.

``python assets/runs/checks.py [NAME ...]`` measures runs as they lie here and writes what was found
into ``checks.json``; ``make.py`` does the same with each run that it makes. The sets that runs were
trained on must be on this machine, or in the folder that ``ELSEWHERE`` names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from analysis import frechet  # noqa: E402
from analysis.flow_matching_images import check_image_flow_matching  # noqa: E402
from analysis.flow_matching_plane import check_flow_matching  # noqa: E402
from analysis.image_checks import Measured, check_image_flow  # noqa: E402
from analysis.plane_checks import Check, check_plane_flow  # noqa: E402
from analysis.sample_look import look_at  # noqa: E402
from analysis.vae_checks import check_vae  # noqa: E402
from datasets.images import OWN, ImageSet, image_folders, is_here, load_images  # noqa: E402
from datasets.own_images import OwnImages, read_image_folder  # noqa: E402
from datasets.plane import load_plane  # noqa: E402
from lab.store import Run  # noqa: E402
from metrics.cyclegan_health import translation_health  # noqa: E402
from metrics.gan_health import Health, health  # noqa: E402
from training.core.image_gan import shown  # noqa: E402

FILE = HERE / "checks.json"
# Copies of sets whose originals may be missing where a run is checked.
ELSEWHERE = {"cifar10": "cifar10_jpg"}
DRAWN = 1000  # samples of a GAN that are compared with test images
CLOSE = 15  # times the distance of real training images, in a classifier's features, at most
KINDS = 0.6  # of the classes that samples must amount to
HUE, OVERLAP = 0.98, 0.95  # of translated fruits: the other's hue, and the shape kept
AREA = 0.8  # AUROC of images, at the lower end of its interval


def check(run: Run) -> list[Check]:
    """Measure a run as its page does; return what was found."""
    model = run.family.training.blank(run.config, run.snapshots.target())
    run.weights.load_into(model)
    with torch.no_grad():
        return list(CHECKS[run.family.stem](run, model.eval().requires_grad_(False)))


def passed(checks: list[Check]) -> bool:
    """Tell whether nothing of it failed."""
    return all(found.passed is not False for found in checks)


def record(run: Run, checks: list[Check]) -> None:
    """Write down what was found of a run, with the weights that it holds for."""
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    kept[run.family.stem] = {
        "weights": fingerprint(run),
        "checks": [
            {name: value for name, value in dataclasses.asdict(c).items() if value != ""}
            for c in checks
        ],
    }
    text = json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


def fingerprint(run: Run) -> str:
    """Return the SHA-256 of the weights of a run."""
    return hashlib.sha256((run.path / "model.safetensors").read_bytes()).hexdigest()


def copy_of(dataset: str) -> OwnImages | None:
    """Return a copy of a set that is not on this machine itself, or ``None`` if it is."""
    if is_here(dataset):
        return None
    folder = next(f for f in image_folders() if f.name == ELSEWHERE[dataset])
    return read_image_folder(folder, 32, 3)


# -- one for each kind of family -------------------------------------------------------------------


def _plane(run: Run):
    return load_plane(run.config.dataset, run.config.noise)


def _plane_flow(run: Run, flow) -> Iterator[Check]:
    yield from check_plane_flow(flow, _plane(run))


def _plane_matching(run: Run, flow) -> Iterator[Check]:
    yield from check_flow_matching(flow, _plane(run))


def _image_matching(run: Run, flow) -> Iterator[Check]:
    images = load_images(run.config.dataset)
    dims = images.train[0].numel()
    padded = images.pad_to(int(run.snapshots.target()["crop"][1]))
    yield from check_image_flow_matching(flow, padded, dims, _classifier(run, images))


def _plane_vae(run: Run, _model) -> Iterator[Check]:
    bound, plane = run.metrics.rows()[-1]["bound_test"], _plane(run)
    gaussian = 1 + math.log(2 * math.pi) + plane.log_volume  # of data that are standardised
    how = "Negative ELBO of held-out points; a Gaussian of their mean and spread has the other."
    yield Check("bound", f"{bound:.3f} nats", f"below {gaussian:.3f}", bound < gaussian, how)


def _image_flow(run: Run, flow) -> Iterator[Check]:
    images = load_images(run.config.dataset)
    dims = images.train[0].numel()
    padded = images.pad_to(int(run.snapshots.target()["crop"][1]))
    yield from check_image_flow(Measured(flow, padded.test, padded.test_labels, dims))


def _vae(run: Run, model) -> Iterator[Check]:
    yield from check_vae(model, load_images(run.config.dataset).test)


def _light(found: Health) -> Check:
    return Check("health", found.state, "balanced", found.state == "balanced", found.words)


def _duel_light(run: Run, modes: int = 0) -> Check:
    steps, look = run.snapshots.steps(), None
    if steps:
        look = look_at(run, steps[-1], run.snapshots.load(steps[-1]), run.snapshots.target())
    return _light(health(run.metrics.rows(), run.status().total, modes, look))


def _plane_gan(run: Run, _model) -> Iterator[Check]:
    modes = run.metrics.rows()[-1]["modes"]
    yield _duel_light(run, modes=8)
    yield Check("modes", f"{modes:.0f}", "all 8", modes == 8, "Of 20,000 samples.")


def _image_gan(run: Run, model) -> Iterator[Check]:
    yield _duel_light(run)
    own = copy_of(run.config.dataset)
    images = load_images(OWN if own else run.config.dataset, own)
    classifier = _classifier(run, images)
    x = model(model.draw(DRAWN, torch.Generator().manual_seed(8)))
    samples = torch.from_numpy(shown(x, int(run.snapshots.target()["crop"][0])))
    ours = frechet.compare(classifier, samples, frechet.some(images.test, DRAWN))
    real, noise = frechet.yardsticks(classifier, images, DRAWN)
    most = CLOSE * real.distance
    yield Check(
        "Fréchet distance in a classifier's features",
        f"{ours.distance:.1f}",
        f"at most {most:.0f}: {CLOSE} times that of real training images, {real.distance:.1f}; "
        f"noise has {noise.distance:.0f}",
        ours.distance <= most,
        f"{DRAWN} samples; the classifier gets {frechet.accuracy(classifier, images):.1%} of "
        "the test images right. Not the FID.",
    )
    kinds, least = ours.spread, KINDS * len(images.classes)
    how = "How many classes the samples amount to, by the classifier."
    yield Check("classes", f"{kinds:.1f}", f"at least {least:.1f}", kinds >= least, how)


def _classifier(run: Run, images: ImageSet):
    try:
        path = frechet.classifier_path(images.name, run)
        return frechet.load_classifier(path, images)
    except frechet.NoClassifier:
        with torch.enable_grad():
            return frechet.train_classifier(images).eval().requires_grad_(False)


def _cyclegan(run: Run, _model) -> Iterator[Check]:
    rows = run.metrics.rows()
    yield _light(translation_health(rows, run.status().total))
    last = next(row for row in reversed(rows) if "hue_ab" in row)
    for name, least in (("hue", HUE), ("iou", OVERLAP)):
        value = min(last[f"{name}_ab"], last[f"{name}_ba"])
        how = "Of translated test images, the worse direction."
        yield Check(name, f"{value:.3f}", f"at least {least}", value >= least, how)


def _maf(run: Run, _model) -> Iterator[Check]:
    found = json.loads((run.path / "detection.json").read_text(encoding="utf-8"))
    low = found["auroc"]["low"] if isinstance(found["auroc"], dict) else found["auroc"]
    how = "Test images of rendered capsules; chance is 0.5."
    yield Check("AUROC of images", f"{low:.3f}", f"at least {AREA}", low >= AREA, how)


CHECKS: dict[str, Callable[[Run, torch.nn.Module], Iterator[Check]]] = {
    **dict.fromkeys(("nice", "realnvp", "glow_plane", "maf_plane"), _plane_flow),
    **dict.fromkeys(("glow", "nice_images", "realnvp_images"), _image_flow),
    **dict.fromkeys(("gan_images", "dcgan"), _image_gan),
    "vae": _vae,
    "vae_plane": _plane_vae,
    "flow_matching": _plane_matching,
    "flow_matching_images": _image_matching,
    "gan": _plane_gan,
    "cyclegan": _cyclegan,
    "maf": _maf,
}


def report(run: Run) -> bool:
    """Check a run, say and write down what was found, and tell whether it may ship."""
    checks = check(run)
    for found in checks:
        mark = {True: "right", False: "NOT RIGHT", None: ""}[found.passed]
        print(f"{run.family.stem}: {found.name}: {found.value} ({found.expected}) {mark}")
    if passed(checks):
        record(run, checks)
    return passed(checks)


if __name__ == "__main__":
    sys.exit(not all([report(Run(HERE / stem)) for stem in sys.argv[1:] or CHECKS]))
