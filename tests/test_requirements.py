"""Dependencies: pinned, and above every version that is known to have a hole."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
FILES = sorted(ROOT.glob("requirements*.txt"))

# The first version without the hole, and what the hole is. `scripts/audit.py` asks for newer ones.
FLOORS = {
    "streamlit": ("1.61", "the last of its advisories"),
    "torch": ("2.6", "CVE-2025-32434: weights_only=True could still run code"),
    "torchvision": ("0.21", "the one that goes with torch 2.6"),
    "numpy": ("1.22", "CVE-2021-41495, CVE-2021-41496"),
    "scipy": ("1.10", "CVE-2023-25399"),
    "scikit-learn": ("1.5", "CVE-2024-5206"),
    "pillow": ("12.3", "overflows in its decoders"),
    "pydantic": ("2.4", "CVE-2024-3772: a regular expression that takes for ever"),
    "Authlib": ("1.6.6", "CVE-2025-61920, CVE-2025-68158"),
    "httpx": ("0.23", "CVE-2021-41945"),
    "filelock": ("3.20.3", "CVE-2025-68146, CVE-2026-22701: links in the place of locks"),
    "tqdm": ("4.66.3", "CVE-2024-34062"),
    "ray": ("2.52", "CVE-2025-62593: a web page could reach a local cluster"),
    "pytest": ("9.0.3", "CVE-2025-71176: its folder in /tmp"),
    "playwright": ("1.55.1", "CVE-2025-59288"),
    # What these bring along.
    "fonttools": ("4.60.2", "CVE-2025-66034"),
    "gitpython": ("3.1.41", "CVE-2024-22190"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "joblib": ("1.2", "CVE-2022-21797"),
    "protobuf": ("5.29.5", "CVE-2025-4565"),
    "pyarrow": ("14.0.1", "CVE-2023-47248: a file could run code"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "starlette": ("0.49.1", "CVE-2025-62727"),
    "tornado": ("6.5", "CVE-2025-47287"),
    "urllib3": ("2.6", "CVE-2025-66418, CVE-2025-66471: decompression bombs"),
    "virtualenv": ("20.26.6", "CVE-2024-53899"),
}
# Looked up, and nothing found.
NO_HOLE_KNOWN = {"matplotlib", "mlxtend", "pandas", "safetensors", "seaborn"}
NO_HOLE_KNOWN |= {"normflows", "prometheus-client", "tensorboardX"}


def requirements(path: Path) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_dependency_is_pinned_above_its_known_holes(path):
    found = requirements(path)
    assert found
    for requirement in found:
        (pin,) = requirement.specifier
        assert pin.operator == "==", f"{requirement} is not pinned to one version"
        assert re.fullmatch(r"\d+(\.\d+)+", pin.version), requirement
        if requirement.name in FLOORS:
            floor, hole = FLOORS[requirement.name]
            assert Version(pin.version) >= Version(floor), f"{requirement}: {hole}"


def test_of_all_that_runs_in_the_lab_it_is_known_whether_there_is_a_hole():
    names = {requirement.name for requirement in requirements(ROOT / "requirements.txt")}
    assert names <= FLOORS.keys() | NO_HOLE_KNOWN


def test_what_is_installed_is_above_its_known_holes_too():
    looked_at = set()
    for name, (floor, hole) in FLOORS.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        looked_at.add(name)
        assert Version(version) >= Version(floor), f"{name} {version}: {hole}"
    assert {"torch", "streamlit", "pillow", "numpy"} <= looked_at
