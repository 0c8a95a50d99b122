"""Where the project lies: the one place that knows its root."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).absolute().parent
ASSETS = ROOT / "assets"
