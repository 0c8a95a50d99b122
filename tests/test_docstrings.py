"""What is public is explained, where it is defined or where it was first promised; examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "datasets", "metrics", "training", "lab", "analysis", "cli")
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if not path.stem.startswith("_")
]


def own(found: object) -> bool:
    return getattr(found, "__module__", "").partition(".")[0] in PACKAGES


def function_of(member: object) -> object:
    """What a class holds under a name, as the function that was written there."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    return getattr(member, "func", member)  # of a cached property


def explained(owner: type, name: str) -> bool:
    """Return whether a method has a docstring, here or in a class of ours that it comes from."""
    return any(
        inspect.isroutine(found) and found.__doc__
        for base in owner.__mro__
        if own(base) and name in vars(base)
        for found in [function_of(vars(base)[name])]
    )


def public(module: ModuleType) -> dict[str, bool]:
    """The public functions, classes and methods of a module, and whether they are explained."""
    found = {}
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(thing):
            found[name] = bool(thing.__dict__.get("__doc__"))
            for inner, member in vars(thing).items():
                written = function_of(member)
                if inspect.isfunction(written) and not inner.startswith("_"):
                    found[f"{name}.{inner}"] = explained(thing, inner)
        elif inspect.isroutine(thing):
            found[name] = bool(thing.__doc__)
    return found


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_explained(name: str) -> None:
    silent = [what for what, told in public(importlib.import_module(name)).items() if not told]
    assert not silent


def test_the_search_finds_what_there_is() -> None:
    layers = public(importlib.import_module("models.blocks.layers"))
    assert {"MLP", "Coupling", "Coupling.passive", "ActNorm.initialise"} <= layers.keys()
    assert sum(len(public(importlib.import_module(name))) for name in MODULES) > 500


WITH_ARGUMENTS = re.compile(r"^Args:$", re.MULTILINE)


@pytest.mark.parametrize("name", MODULES)
def test_arguments_that_are_explained_exist(name: str) -> None:
    module = importlib.import_module(name)
    for what, thing in vars(module).items():
        if getattr(thing, "__module__", "") != name or not inspect.getdoc(thing):
            continue
        doc = inspect.getdoc(thing)
        if not (inspect.isclass(thing) or inspect.isroutine(thing)) or "\nArgs:\n" not in doc:
            continue
        block = doc.split("\nArgs:\n")[1].split("\n\n")[0]
        named = [
            word.strip(" *")
            for line in re.findall(r"^    (\*{0,2}\w[\w, *]*):", block, re.MULTILINE)
            for word in line.split(",")
        ]
        known = set(inspect.signature(inspect.unwrap(thing)).parameters)
        assert set(named) <= known, f"{what}: {set(named) - known}"


def sources(thing: object) -> str:
    return inspect.getdoc(thing) or ""


def test_layers_and_models_name_their_papers() -> None:
    """Each flow layer, recipe and loss says where it is from, with a link."""
    from models import cyclegan, gan, glow, maf, nice, realnvp, vae
    from models.blocks import layers, made, splines

    recipes = [
        *(layers.AdditiveCoupling, layers.AffineCoupling, splines.SplineCoupling, layers.ActNorm),
        *(nice.nice, nice.nice_images, realnvp.realnvp, realnvp.realnvp_images, glow.glow),
        *(maf.maf, made.MADE, gan.plane_gan, gan.image_gan, gan.dcgan, vae.vae, cyclegan.cyclegan),
    ]
    for recipe in recipes:
        assert re.search(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", sources(recipe)), recipe


DOCTESTS = [
    test
    for name in MODULES
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if test.examples
]


@pytest.mark.parametrize("test", DOCTESTS, ids=lambda test: test.name)
def test_examples_run(test: doctest.DocTest) -> None:
    told: list[str] = []
    state = torch.get_rng_state()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert runner.run(test, out=told.append).failed == 0, "".join(told)
    assert torch.equal(torch.get_rng_state(), state), "an example draws from a seed of its own"


def test_there_are_examples_of_each_kind() -> None:
    names = " ".join(test.name for test in DOCTESTS)
    for kind in (
        "models.blocks.layers",
        "models.flow",
        "training.core.optimiser",
        "metrics.detection",
        "datasets",
    ):
        assert kind in names


ARRAYS = re.compile(r"Tensor|ndarray")
SHAPE = re.compile(r"shape|scalar|``\(")
# Arrays by name, whatever they are; and texts, read from an array.
ANY_ARRAYS = {
    "Snapshots.save",
    "Snapshots.load",
    "Snapshots.save_target",
    "Snapshots.target",
    "read_saved",
    "read_texts",
    "Duel.update",
    "CycleGANTraining.translate",
    "read_test_image",
}


@pytest.mark.parametrize("name", MODULES)
def test_who_takes_or_returns_arrays_tells_their_shape(name: str) -> None:
    module, silent = importlib.import_module(name), []
    for what in public(module):
        thing: object = module
        for part in what.split("."):
            thing = vars(thing)[part]
        written = inspect.unwrap(function_of(thing))
        if inspect.isclass(written) or not written.__doc__ or what in ANY_ARRAYS:
            continue  # what an override does not tell, its base does
        told = " ".join(map(str, written.__annotations__.values()))
        if ARRAYS.search(told) and not SHAPE.search(written.__doc__):
            silent.append(what)
    assert not silent
