"""The pages of families that also go to the plane: both set-ups open, with a result to look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from registry import FAMILIES

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("stem", ["glow_plane", "maf_plane", "vae_plane"])
def test_the_variant_in_the_plane_opens_with_its_shipped_run(stem):
    family = FAMILIES[stem]
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    app.query_params["on"] = stem
    app.switch_page(f"pages/{family.page}.py").run()
    assert not app.exception
    assert not app.error
    assert app.title[0].value == FAMILIES[family.page].title
    assert any("3,000** of 3,000" in bar.proto.text for bar in app.get("progress"))
    parts = next(c for c in app.segmented_control if c.key == f"{stem}.part")
    for part in ("Explore", "Take away", "The code"):
        parts.set_value(part).run()
        assert not app.exception, part
        parts = next(c for c in app.segmented_control if c.key == f"{stem}.part")
