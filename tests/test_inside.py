"""What *See inside* draws of a flow in 2-D: a flow folds nowhere, so its grid must not either."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.store import Run
from models.blocks.layers import DiagonalScale
from models.blocks.priors import Gaussian
from models.flow import Flow
from paths import ASSETS
from ui.common.trained import trained_model
from ui.plane_flows.inside import anatomy_of, bent_lines, grid_lines, states_of
from ui.stage.latents import lattice_points

PLANE = ["nice", "realnvp", "glow_plane", "maf_plane"]


def shipped(stem: str) -> Run:
    return Run(ASSETS / "runs" / stem)


def crossings(one: np.ndarray, other: np.ndarray) -> int:
    """Count where two polylines cross, each as pieces ``(n, 2 ends, 2)``."""

    def side(o, p, q):
        return (p - o)[..., 0] * (q - o)[..., 1] - (p - o)[..., 1] * (q - o)[..., 0]

    (a, b), (c, d) = one.transpose(1, 0, 2)[:, :, None], other.transpose(1, 0, 2)[:, None]
    apart = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    return int(apart.sum())


def pieces(line: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return the pieces of a line that are drawn: both of their ends are there and shown."""
    there = np.isfinite(line).all(1) & (alpha > 0)
    ends = np.stack([line[:-1], line[1:]], 1)
    return ends[there[:-1] & there[1:]]


@pytest.mark.parametrize("stem", PLANE)
def test_neighbouring_grid_lines_do_not_cross_in_any_state(stem: str) -> None:
    anatomy = anatomy_of(shipped(stem), 0.0)
    states, count = anatomy.lines.shape[:2]
    half = count // 2
    found, drawn = 0, 0
    for state in range(states):
        lines = [
            pieces(*each) for each in zip(anatomy.lines[state], anatomy.alpha[state], strict=True)
        ]
        drawn += sum(map(len, lines))
        for i in [*range(half - 1), *range(half, count - 1)]:
            found += crossings(lines[i], lines[i + 1])
    assert drawn > 400 * states, "a grid of which hardly anything is left shows nothing"
    assert found <= 1, "one piece of thousands may be off by a rounding"


def test_a_straight_map_needs_no_more_corners_and_a_bent_one_does() -> None:
    box = np.array([[-1.0, 1.0, -1.0, 1.0]] * 2)
    ends = grid_lines((-1, 1, -1, 1), 5)
    straight = bent_lines(lambda x: np.stack([x.numpy(), 2 * x.numpy()]), ends, box)
    bent = bent_lines(lambda x: np.stack([x.numpy(), np.tanh(20 * x.numpy())]), ends, box)
    assert straight.shape[2] < bent.shape[2]
    np.testing.assert_allclose(straight[1], 2 * straight[0], rtol=1e-6)
    there = np.isfinite(bent[0])
    np.testing.assert_allclose(bent[1][there], np.tanh(20 * bent[0][there]), atol=1e-5)
    assert (np.diff(bent[0, 0, :, 1][there[0, :, 1]]) > 0).all(), "corners are in order"


def test_states_are_those_of_the_flow_and_sums_its_log_determinants() -> None:
    flow = Flow(Gaussian(2), [DiagonalScale(2), DiagonalScale(2)])
    with torch.no_grad():
        flow.chain[0].log_scale.copy_(torch.tensor([0.3, -0.1]))
    x = torch.tensor([[1.0, 2.0], [-0.5, 0.25]])
    states, sums = states_of(flow, x)
    z, log_det = flow.inverse(x)
    assert states.shape == (3, 2, 2) and sums.shape == (3, 2)
    np.testing.assert_array_equal(states[0], x)
    np.testing.assert_allclose(states[-1], z.detach())
    np.testing.assert_allclose(sums[-1], log_det.detach())


@pytest.mark.parametrize("stem", PLANE)
def test_the_lattice_lies_where_the_browser_looks_it_up(stem: str) -> None:
    run = shipped(stem)
    anatomy = anatomy_of(run, 0.0)
    x0, x1, y0, y1 = anatomy.boxes[0]
    np.testing.assert_allclose(anatomy.lattice[0, 0, 0], [x0, y0], rtol=1e-5)
    np.testing.assert_allclose(anatomy.lattice[0, -1, 0], [x0, y1], rtol=1e-5)
    np.testing.assert_allclose(anatomy.lattice[0, 0, -1], [x1, y0], rtol=1e-5)
    height, width = anatomy.sums.shape[1:]
    assert len(lattice_points(anatomy.boxes[0], 5)) == 25
    states, sums = states_of(trained_model(run, 0.0), torch.tensor(anatomy.lattice[0, 3, 7])[None])
    np.testing.assert_allclose(anatomy.lattice[:, 3, 7], states[:, 0], atol=1e-4)
    np.testing.assert_allclose(anatomy.sums[:, 3, 7], sums[:, 0], atol=1e-4)
    assert height == width
