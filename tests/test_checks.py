"""The checks that the pages show: right flows pass them, and a wrong one is found out."""

from __future__ import annotations

import pytest
import torch

from analysis.plane_checks import check_plane_flow
from datasets.own import OwnData
from models.blocks.layers import AffineCoupling
from registry import FAMILIES

SETTINGS = [
    ("nice", {"layers": 3, "hidden": 32}),
    ("realnvp", {"blocks": 3, "hidden": 32, "actnorm": True}),
    ("realnvp", {"blocks": 2, "hidden": 32, "coupling": "spline"}),
    ("glow_plane", {"steps": 2, "hidden": 32}),
    ("maf_plane", {"blocks": 2, "hidden": 32}),
]


def trained(stem: str, values: dict, own: OwnData | None = None):
    family = FAMILIES[stem].training
    experiment = family.build(family.config.parse({"batch": 64, **values}), own=own)
    for _ in range(60):
        experiment.update()
        experiment.step += 1
    experiment.model.requires_grad_(False)
    return experiment.model, experiment.plane


@pytest.mark.parametrize(("stem", "values"), SETTINGS)
def test_a_right_flow_passes(stem: str, values: dict) -> None:
    checks = {check.name: check for check in check_plane_flow(*trained(stem, values))}
    assert len(checks) == 6
    assert not [check for check in checks.values() if check.passed is False]


def test_a_wrong_log_det_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, plane = trained(*SETTINGS[1])
    right = AffineCoupling._to_latent

    def wrong(self, active, parameters):
        moved, log_det = right(self, active, parameters)
        return moved, 0.9 * log_det

    monkeypatch.setattr(AffineCoupling, "_to_latent", wrong)
    failed = {check.name for check in check_plane_flow(flow, plane) if check.passed is False}
    assert "Log-determinant against autograd" in failed


def test_own_points_have_a_likelihood_and_no_invented_truth() -> None:
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).numpy()
    own = OwnData("points", points, "mine")
    checks = check_plane_flow(*trained("nice", {**SETTINGS[0][1], "dataset": "own"}, own))
    names = [check.name for check in checks]
    assert "Negative log-likelihood" in names
    assert "KL to the truth" not in names
