"""The families side by side: what is true by construction, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from lab.comparison import ENTRANTS
from lab.runs.files import read_json
from paths import ASSETS
from registry import FAMILIES, PAGES
from ui.common.plain import markdown

TRAITS = {
    "likelihood": "Likelihood",
    "inverse": "Back to the latent",
    "sampling": "A sample",
    "latent": "Latent",
    "trouble": "What goes wrong",
}


def side_by_side() -> None:
    """Draw the tables; a family without traits is left out of the first one."""
    lines = [
        [f"**{family.title}**", *(getattr(family.traits, name) for name in TRAITS)]
        for family in PAGES
        if family.traits is not None
    ]
    st.markdown(markdown(["Family", *TRAITS.values()], lines, right=()))
    measured = _measured()
    if measured is None:
        st.info("Nothing has been measured here yet: `python assets/measured.py` does it.")
        return
    _in_the_plane(measured)
    _on_images(measured)


@st.cache_data(show_spinner=False)
def _measured() -> dict[str, Any] | None:
    try:
        return read_json(ASSETS / "measured.json")
    except (OSError, ValueError):
        return None


def _in_the_plane(measured: Mapping[str, Any]) -> None:
    plane = measured["plane"]
    st.markdown("**Measured in 2-D: eight Gaussians on a ring, equal steps**")
    lines = []
    for key, numbers in plane["entrants"].items():
        entrant = ENTRANTS[key]
        exact = entrant.likelihood == "exact"
        column = "nll_test" if exact else "tight_bound"
        nll = _spread(numbers[column], "{:.3f}")
        if not exact:
            nll = f"≤ {nll}" if entrant.likelihood == "bound" else "no likelihood"
        kl = _spread(numbers["kl_to_truth"], "{:.3f}") if exact else "-"
        lines.append(
            [
                f"**{entrant.title}**",
                nll,
                kl,
                _spread(numbers["kl_samples"], "{:.3f}"),
                _spread(numbers["modes"], "{:.1f}"),
                f"{1000 * numbers['sample_seconds']:.1f}",
                f"{numbers['parameters']['mean']:,.0f}",
            ]
        )
    head = ["Model", "Test NLL [nats]", "KL [nats]", "Sample KL [nats]", "Modes of 8"]
    head += ["10,000 samples [ms]", "Parameters"]
    st.markdown(markdown(head, lines))
    seeds = max(numbers["parameters"]["count"] for numbers in plane["entrants"].values())
    st.caption(
        f"Mean ± standard deviation over {seeds} seeds; samples of the truth itself have a sample "
        f"KL of {plane['kl_floor']:.3f}. Trained by `{plane['command']}`; what the columns are "
        f"stands on the page of the Arena. Time: processor time of {measured['machine']}, median "
        f"of {measured['rounds']} rounds in which each model has its turn, {measured['date']}."
    )


def _on_images(measured: Mapping[str, Any]) -> None:
    st.markdown("**Measured on images: the trained models that come with the lab**")
    lines = []
    for page, numbers in measured["images"].items():
        error = numbers["inverse_error"]
        lines.append(
            [
                f"**{FAMILIES[page].title}**",
                numbers["what"],
                f"{numbers['dimensions']:,}",
                "none" if numbers["latent"] is None else f"{numbers['latent']:,}",
                f"{numbers['parameters']:,}",
                f"{1000 * numbers['seconds']:,.1f}",
                "no inverse" if error is None else f"{error:.0e}",
            ]
        )
    head = ["Family", "Makes", "Dimensions", "Latent", "Parameters"]
    head += [f"{measured['batch']} samples [ms]", "Round trip misses by"]
    st.markdown(markdown(head, lines, right=range(2, len(head))))
    st.caption(
        "Time: as above. The models differ in size and in what they make, so the times say what "
        "these models cost, not which family is faster. The round trip goes from samples to "
        "latents and back in float32: the largest difference of any value; images span 1, "
        "patches are standardised. `python assets/measured.py` measures all of it again."
    )


def _spread(found: Mapping[str, float] | None, form: str) -> str:
    if found is None:
        return "-"
    return f"{form.format(found['mean'])} ± {form.format(found['sd'])}"
