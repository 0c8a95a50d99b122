"""What GANs in 2-D come to over several seeds, and which settings and losses collapse how often.

1. The ring of 8 with one setting changed at a time: how many of the seeds end with all modes
   covered, and how many collapsed (less than three quarters of the modes).
2. All losses on the ring and on the grid of 25, over up to 50 seeds: see ``gan_losses``.

Nothing is chosen afterwards: no best checkpoint, no best seed.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import gan_losses
from benchmarks.gan_losses import score
from benchmarks.options import Options
from benchmarks.tables import Table, spread
from metrics.gan_health import MISSED

SEEDS = (0, 1, 2, 3, 4)

SETTINGS: dict[str, dict] = {
    "defaults of the page": {},
    "uniform latents": {"prior": "uniform"},
    "momentum 0.5": {"momentum": 0.5},
    "momentum 0.9": {"momentum": 0.9},
    "batch 32": {"batch": 32},
    "k_G = 5": {"g_steps": 5},
    "k_D = 5": {"d_steps": 5},
    "original loss": {"loss": "original"},
    "least squares": {"loss": "least-squares"},
    "hinge": {"loss": "hinge"},
    "Wasserstein, k_D = 5": {"loss": "wasserstein", "d_steps": 5},
    "label smoothing 0.1": {"smoothing": 0.1},
    "learning rates 5e-3": {"learning_rate": 5e-3, "learning_rate_d": 5e-3},
    "gradient descent, 0.02": {
        "optimiser": "gradient-descent",
        "learning_rate": 2e-2,
        "learning_rate_d": 2e-2,
    },
}


def run(options: Options) -> Iterator[Table]:
    """Yield the table of the settings, then those of the losses."""
    seeds = options.seeds or (SEEDS[:1] if options.quick else SEEDS)
    yield _settings(seeds, options.quick)
    yield from gan_losses.run(options)


def _settings(seeds: tuple[int, ...], quick: bool) -> Table:
    columns = ("ring of 8, with", "seeds", "all modes", "collapsed", "modes", "good", "s")
    table = Table("gan: which settings collapse", columns)
    for name, changed in list(SETTINGS.items())[: 3 if quick else None]:
        scores = [score(seed, quick, **changed) for seed in seeds]
        covered = [s["modes"] for s in scores]
        cells = (
            f"{sum(c == 8 for c in covered)} of {len(seeds)}",
            f"{sum(c < MISSED * 8 for c in covered)} of {len(seeds)}",
            spread(covered, 0)[0],
            spread([s["good"] for s in scores], 3)[0],
            spread([s["seconds"] for s in scores], 0)[0],
        )
        table.rows.append((name, str(len(seeds)), *cells))
    table.notes.append(
        "All else as on the page. collapsed: less than three quarters of the modes at the end."
    )
    return table
