"""The contract of the pages: promise, paper, theory, training, checks, downloads, code."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from analysis.exercises.files import Exercise, exercises
from datasets.own import OwnData
from datasets.own_pairs import OwnPairs
from lab.imports.weights_import import read_weights, run_from_weights
from lab.lab import Lab, get_lab
from lab.store import Run
from paths import ROOT
from registry import FAMILIES, PAGES, Family
from training.core.config import RunConfig
from training.core.family import Own
from ui.common.page import IN_THE_CODE, named_in, resolve, sections
from ui.common.plain import counted
from ui.common.run_words import rate_words
from ui.guide.known import address

PROVES = {"Check", "Results"}  # the section with the numbers that prove what was trained
SINGLETON = "_generative_lab"  # where `lab.lab.get_lab` keeps it
FELT = ("Felt on a line", "Felt in 2-D")  # on the page of theory
BUTTONS = ("train", "pause", "resume", "step", "stop")


@pytest.fixture(autouse=True, scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose runs are nobody else's, in place of the one of this process."""
    before = sys.__dict__.pop(SINGLETON, None)
    lab = sys.__dict__[SINGLETON] = Lab(tmp_path_factory.mktemp("runs"))
    st.cache_resource.clear()
    yield lab
    lab.close()
    sys.__dict__.pop(SINGLETON)
    if before is not None:
        sys.__dict__[SINGLETON] = before
    st.cache_resource.clear()


def opened(family: Family, **address: str) -> AppTest:
    """The page of a family, with a run on it: the one that ships, or else one made here."""
    tester = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    tester.switch_page(f"pages/{family.page}.py")
    if family.page != family.stem:
        address["on"] = family.stem
    shipped = ROOT / "assets" / "runs" / family.stem / "config.json"
    if "run" not in address and not shipped.exists():
        address["run"] = made(family).id
    for name, value in address.items():
        tester.query_params[name] = value
    return tester


def made(family: Family) -> Run:
    """A run as weights from a file become one: with a first snapshot, and nothing learned."""
    store = get_lab().store
    first = store.create(family, family.training.config())
    experiment = first.experiment()
    first.snapshots.save_target(
        experiment.target()
    )  # of which the weights say what their model has to know
    first.weights.save(experiment.model, 0)
    return run_from_weights(store, read_weights(first.weights.file()), "made.safetensors")


def of_own_data(family: Family, own: Own, **settings: object) -> Run:
    """A run of one's own data as its first snapshot leaves it."""
    config = family.training.config(dataset="own", **settings)
    run = get_lab().store.create(family, config, own)
    experiment = run.experiment()
    run.snapshots.save_target(experiment.target())
    run.snapshots.save(0, experiment.snapshot(), {0})
    run.weights.save(experiment.model, 0)
    run.write_status(replace(run.status(), state="finished", total=1))
    return run


def healthy(tester: AppTest) -> AppTest:
    tester.run()
    assert not tester.exception
    assert not tester.error
    return tester


def words(tester: AppTest) -> str:
    return "\n".join(text.value for text in (*tester.markdown, *tester.caption))


def choose(tester: AppTest, family: Family, part: str) -> AppTest:
    tester.segmented_control(key=f"{family.stem}.part").set_value(part)
    return healthy(tester)


@pytest.mark.parametrize("stem", FAMILIES)
def test_a_page_keeps_the_contract(stem: str) -> None:
    family = FAMILIES[stem]
    tester = healthy(opened(family))
    # Promise and paper.
    owner = FAMILIES[family.page]
    assert [title.value for title in tester.title] == [owner.title]
    assert family.promise in words(tester)
    assert f"[{family.paper}]({family.url})" in words(tester)
    # Training: a widget for each setting, five buttons in their places.
    keys = {getattr(part, "key", None) for part in tester}
    assert {f"{stem}.{knob.name}" for knob in family.training.config.knobs()} <= keys
    assert all(tester.button(key=f"{stem}.{name}") is not None for name in BUTTONS)
    # What was trained can be proved, taken away and read.
    parts = tester.segmented_control(key=f"{stem}.part").options
    assert PROVES & set(parts)
    choose(tester, family, "Take away")
    kinds = [button.label for button in tester.get("download_button")]
    assert {"Metrics (CSV)", "Weights (safetensors)", "The whole run (zip)"} <= set(kinds)
    assert any(f"python -m training {stem}" in block.value for block in tester.code)
    choose(tester, family, "The code")
    assert any(block.value.startswith(("class ", "def ")) for block in tester.code)
    assert sum(block.value.count("\n") for block in tester.code) > 30
    assert "`models/" in words(tester)


@pytest.mark.parametrize("stem", ["nice", "glow", "vae", "gan", "dcgan", "cyclegan"])
def test_while_a_run_trains_its_page_says_which_weights_it_looks_into_and_offers_newer(stem: str):
    family = FAMILIES[stem]
    run = made(family)
    model = run.experiment().model
    run.write_status(replace(run.status(), state="running"))
    tester = healthy(opened(family, run=run.id))
    assert "Weights of step 0." in words(tester)
    run.weights.save(model, 7)
    assert "Weights of step 0." in words(healthy(tester)), "nothing changes under one's hands"
    tester.button(key=f"{run.id}.weights.newer").click()
    assert "Weights of step 7." in words(healthy(tester))


@pytest.mark.parametrize("family", PAGES, ids=lambda family: family.stem)
def test_a_promise_is_one_sentence(family: Family) -> None:
    assert re.fullmatch(r"[A-Z][^.!?]*\.", family.promise)


@pytest.mark.parametrize("stem", [family.stem for family in PAGES])
def test_theory_is_in_tabs_and_names_its_code(stem: str) -> None:
    family = FAMILIES[stem]
    parts = sections(ROOT / "docs" / "theory" / f"{family.page}.md")
    tester = opened(family)
    tester.session_state[f"{stem}.lesson"] = True
    healthy(tester)
    assert [tab.label for tab in tester.tabs if tab.label in parts] == list(parts)
    names = named_in(parts[IN_THE_CODE])
    chooser = tester.selectbox(key=f"{stem}.formula")
    assert list(chooser.options) == list(dict.fromkeys(names))
    source = inspect.getsource(resolve(names[0]))
    chooser.set_value(names[0])
    healthy(tester)
    assert any(block.value.strip() == source.strip() for block in tester.code)


NAMES = [
    (family.stem, name)
    for family in PAGES
    for name in named_in(
        sections(ROOT / "docs" / "theory" / f"{family.page}.md").get(IN_THE_CODE, "")
    )
]


@pytest.mark.parametrize(("stem", "name"), NAMES, ids=[f"{s}: {n}" for s, n in NAMES])
def test_what_computes_a_formula_exists(stem: str, name: str) -> None:
    found = resolve(name)
    assert inspect.isclass(found) or inspect.isfunction(inspect.unwrap(found))
    assert inspect.getdoc(found), "who follows the name finds an explanation"


@pytest.mark.parametrize("exercise", exercises().values(), ids=lambda e: e.name)
def test_the_link_of_an_exercise_opens_its_page_set_up(exercise: Exercise) -> None:
    tester = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    tester.switch_page(f"pages/{exercise.page}.py")
    for name, value in address(exercise).items():
        tester.query_params[name] = value
    healthy(tester)
    assert not tester.warning, "each value in the address can be set"
    assert f"**{exercise.title}** {exercise.do}" in words(tester)
    assert exercise.answer not in words(tester)
    stem = exercise.family.stem
    if exercise.page == exercise.family.page:
        _has_the_form_of(tester, exercise)
    if exercise.look and (where := tester.button("exercise.where")) and not where.disabled:
        where.click()
        healthy(tester)
        first = exercise.look[0]
        if first == "How it works":
            assert tester.session_state[f"{stem}.lesson"] is True
        elif first not in ("Training", *FELT):
            assert tester.segmented_control(key=f"{stem}.part").value == first
            assert "wanted.part" not in tester.session_state, "the part of it is there, too"


def _has_the_form_of(tester: AppTest, exercise: Exercise) -> None:
    family = exercise.family
    shown, ships = shown_run_of(tester, family)
    for knob in family.training.config.knobs():
        said = tester.session_state[f"{family.stem}.{knob.name}"]
        asked = shown if not exercise.settings and ships else exercise.config()
        assert said == getattr(asked, knob.name), knob.name
    if exercise.settings:
        assert shown is None, "a run on other data would contradict the form"


def shown_run_of(tester: AppTest, family: Family) -> tuple[RunConfig | None, bool]:
    """The settings of the run that a page shows, and whether it ships with the lab."""
    if tester.session_state[f"{family.stem}.bare"]:
        return None, True
    run = Run(ROOT / "assets" / "runs" / family.stem)
    return run.config, True


@pytest.mark.slow
@pytest.mark.parametrize("stem", FAMILIES)
def test_every_section_of_a_shipped_run_is_drawn(stem: str) -> None:
    family = FAMILIES[stem]
    tester = healthy(opened(family))
    for part in tester.segmented_control(key=f"{stem}.part").options:
        choose(tester, family, part)


def test_home_has_a_card_for_every_page() -> None:
    tester = healthy(AppTest.from_file(str(ROOT / "app.py"), default_timeout=120))
    for family in PAGES:
        assert family.promise in words(tester)
        assert f"[{family.paper}]({family.url})" in words(tester)


@pytest.mark.parametrize("stem", [family.stem for family in PAGES])
def test_a_page_without_any_run_says_what_to_do(stem: str, monkeypatch) -> None:
    monkeypatch.setattr("ui.common.run_words.shipped", lambda _: None)
    tester = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    healthy(tester.switch_page(f"pages/{stem}.py"))
    assert any("press Train" in info.value for info in tester.info)
    assert not tester.button(key=f"{stem}.train").disabled
    assert len(tester.code) > 1, "the code can be read before"


def test_a_setting_in_an_old_address_is_taken_by_its_name_of_today():
    tester = healthy(opened(FAMILIES["cyclegan"], judge_width="24"))
    assert not any("judge_width" in warning.value for warning in tester.warning)
    assert tester.slider("cyclegan.discriminator_width").value == 24


# -- addresses -----------------------------------------------------------------------------------


def test_what_a_mailing_list_hangs_onto_a_link_is_no_warning():
    tester = healthy(opened(FAMILIES["nice"], layers="6", utm_source="list", fbclid="x"))
    assert not tester.warning
    assert tester.slider("nice.layers").value == 6
    tester = healthy(opened(FAMILIES["nice"], layer="6"))
    assert "layer" in tester.warning[0].value, "a slip of the pen is one"


def test_back_takes_the_form_back():
    tester = healthy(opened(FAMILIES["nice"], layers="6"))
    before = dict(tester.query_params)
    tester.slider("nice.layers").set_value(10)
    healthy(tester)
    assert tester.query_params["layers"] == "10"
    tester.query_params.clear()
    tester.query_params.update(before)
    assert healthy(tester).slider("nice.layers").value == 6


def test_the_form_stays_as_it_was_set_while_one_looks_at_other_pages():
    tester = healthy(opened(FAMILIES["nice"]))
    tester.slider("nice.layers").set_value(10)
    healthy(tester)
    for page in ("pages/theory.py", "pages/glow.py", "pages/nice.py"):
        tester.query_params.clear()
        healthy(tester.switch_page(page))
    assert tester.slider("nice.layers").value == 10


def test_a_run_that_is_opened_by_its_link_sets_the_form_and_brings_its_data():
    random = np.random.default_rng(0)
    sets = [random.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8) for n in (6, 9, 1, 3)]
    own = OwnPairs(*sets, ("left", "right"), "mine")
    family = FAMILIES["cyclegan"]
    run = of_own_data(family, own, image_size=32, width=8, discriminator_width=8)
    tester = healthy(opened(family, run=run.id))
    assert tester.selectbox("cyclegan.dataset").value == "own"
    assert "fruits" not in words(tester)
    assert "6 images of left (A)" in words(tester)
    assert "Your run on mine" in words(tester)
    assert not tester.button("cyclegan.train").disabled


def test_whatever_the_form_says_the_run_says_what_it_is_of():
    family = FAMILIES["nice"]
    mass = np.zeros((9, 12), np.float32)
    mass[2:6, 1:5] = 1
    run = of_own_data(family, OwnData("picture", mass, "my *drawing*.png"))
    tester = healthy(opened(family, run=run.id))
    tester.selectbox("nice.dataset").set_value("ring")
    healthy(tester)
    assert "Your run on my \\*drawing\\*.png. The form" in words(tester)
    tester.button("nice.take_over").click()
    healthy(tester)
    assert tester.selectbox("nice.dataset").value == "own"
    assert "read as 12 x 9 cells" in words(tester), "its data come along"
    assert not tester.button("nice.train").disabled
    (run.path / "data.npz").unlink()
    assert "on My own data" in words(healthy(tester)), "nobody knows any more"


@pytest.mark.parametrize(("page", "stem"), [("realnvp", "realnvp"), ("gan", "dcgan")])
def test_a_new_tab_offers_the_run_that_one_has(page: str, stem: str):
    run = made(FAMILIES[stem])
    tester = healthy(opened(FAMILIES[page]))
    offered = re.compile(r"Your run.*: .*step")
    shown = [link.proto for link in tester.get("page_link") if offered.match(link.proto.label)]
    assert [link.page for link in shown] == [page]
    assert f"run={run.id}" in shown[0].query_string
    assert ("on=dcgan" in shown[0].query_string) == (page != stem)


def test_the_slider_of_the_history_names_no_step_that_was_not_trained():
    family = FAMILIES["nice_images"]
    small = {"dataset": "digits8", "hidden": 100, "depth": 1, "iterations": 1000}
    config = family.training.config(**small)
    run = get_lab().store.create(family, config)
    experiment = run.experiment()
    run.snapshots.save_target(experiment.target())
    for step in (0, 100, 200):
        run.snapshots.save(step, experiment.snapshot(), {step})
    run.weights.save(experiment.model, 200)
    run.write_status(replace(run.status(), state="stopped", step=200, total=1000))
    tester = healthy(opened(family, run=run.id))
    slider = next(s for s in tester.select_slider if s.label == "History")
    assert slider.value == "newest"
    assert [slider.options[i] for i in (0, -2, -1)] == ["step 0", "step 195", "newest"]
    slider.set_value(150)
    healthy(tester)
    assert next(s for s in tester.select_slider if s.label == "History").value == 150


# -- numbers ---------------------------------------------------------------------------------------


def test_slow_trainings_have_a_pace():
    said = [rate_words(rate) for rate in (1234.5, 12.3, 2.54, 0.4, 0.025)]
    assert said == ["1,234 steps/s", "12 steps/s", "2.5 steps/s", "2.5 s a step", "40 s a step"]


def test_one_is_no_plural():
    assert [counted(n, "run") for n in (0, 1, 2000)] == ["0 runs", "1 run", "2,000 runs"]
    assert [counted(n, "class") for n in (1, 2)] == ["1 class", "2 classes"]


# -- rest ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["All families", "NICE", "RealNVP"])
def test_the_page_of_runs_comes_to_rest_whatever_is_at_work(family: str):
    for stem in ("nice", "realnvp"):  # no lab has them at work: a command line may, or nobody
        run = made(FAMILIES[stem])
        run.write_status(replace(run.status(), state="running"))
    tester = AppTest.from_file(str(ROOT / "app.py"), default_timeout=20)
    tester.switch_page("pages/runs.py")
    tester.session_state["runs.family"] = family
    healthy(tester)
    assert tester.dataframe


# -- seeds ---------------------------------------------------------------------------------------


def _desk_of_one() -> None:
    import streamlit as st

    from ui.common.lab import lab
    from ui.lab_pages.desk import _settings_table
    from ui.lab_pages.side_by_side import side_by_side

    runs = [run for run in lab().runs() if run.id in st.session_state["ids"]]
    _settings_table(runs[0].family, runs[0])
    side_by_side(runs)


def test_a_seed_is_shown_whole():
    seeds = (2_147_483_647, 1_234_567_891)
    family = FAMILIES["nice"]
    runs = [get_lab().store.create(family, family.training.config(seed=seed)) for seed in seeds]
    tester = opened(family, run=runs[0].id).run()
    assert not tester.exception
    field = next(n for n in tester.number_input if n.label == "Seed")
    assert (field.value, field.proto.format) == (seeds[0], "%d")
    field.set_value(1)
    assert any(f"seed {seeds[0]}" in text.value for text in tester.run().caption)
    desk = AppTest.from_function(_desk_of_one)
    desk.session_state["ids"] = [run.id for run in runs]
    assert not desk.run().exception
    settings, differing = (frame.value.astype(str) for frame in desk.dataframe)
    assert set(differing.loc["seed"]) == set(map(str, seeds))
    assert set(settings["value"]) <= set(map(str, seeds))
    assert settings["value"][0] in desk.code[0].value


def test_what_is_drawn_of_a_run_shares_no_key_with_the_form():
    """A run that ships is called like its family, and so begin the keys of its form."""
    knobs = {knob.name for family in FAMILIES.values() for knob in family.training.config.knobs()}
    pattern = re.compile(r'f"\{[\w.]*(?:run|view|moment)[\w.]*\.id\}\.(\w+)"')
    files = (ROOT / "ui").rglob("*.py")
    keys = {key for file in files for key in pattern.findall(file.read_text(encoding="utf-8"))}
    assert len(keys) > 10, "else they were not found"
    assert not keys & knobs
