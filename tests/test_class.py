"""A lab for many: whose run is whose, whose turn it is, what leaves, what the rules say."""

from __future__ import annotations

import io
import json
import math
import secrets
import socket
import sys
import time
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import wait_until
from provider import AUTH
from test_lab import NICE, has_ended, is_training, lab, long, short  # noqa: F401 - a fixture

from analysis.exercises.files import exercises
from analysis.exercises.progress import MARKS, as_csv, table
from lab.comparison import CLASSIC, ENTRANTS, Entry
from lab.housekeeping import Kept, departures
from lab.lab import Lab, LabFull, get_lab
from lab.queue import in_turn, waits
from lab.rules import Rules, RulesError, load_rules
from lab.runs.access import EVERYBODY, Access, Person
from lab.seat import Seat
from lab.store import Run, RunError
from lab.telemetry import census, serve_as_ruled, serve_metrics
from ui.server.secrets import check_sign_in

ANN, BEN = Person("issuer ann", "ann@school"), Person("issuer ben", "ben@school")
TEACHER = Person("issuer eve", "eve@school", admin=True)
STRANGER = Person("")
DEPLOY = Path(__file__).parent.parent / "deploy"


# -- whose turn it is -------------------------------------------------------------------------


def test_slots_go_to_people_in_turn():
    waiting = [("a1", "ann"), ("a2", "ann"), ("a3", "ann"), ("b1", "ben"), ("c1", "cid")]
    assert in_turn(waiting, {}, {}) == (["a1", "b1", "c1", "a2", "a3"], [])
    assert in_turn(waiting, {"ann": 1}, {})[0][:2] == ["b1", "c1"]
    # Who was served longest ago is next.
    assert in_turn(waiting, {}, {"ann": 5, "ben": 3, "cid": 4})[0][:3] == ["b1", "c1", "a1"]


def test_without_people_first_come_is_first_served():
    waiting = [(f"r{i}", "") for i in range(6)]
    assert in_turn(waiting, {"": 9}, {"": 4}, limit=1) == ([f"r{i}" for i in range(6)], [])


def test_who_has_the_limit_at_work_is_held_and_nobody_else():
    waiting = [("a1", "ann"), ("b1", "ben"), ("b2", "ben")]
    assert in_turn(waiting, {"ann": 1}, {}, limit=1) == (["b1"], ["a1", "b2"])


def test_the_queue_loses_nobody_and_is_fair_whatever_comes():
    rng = np.random.default_rng(0)
    for _ in range(300):
        waiting = [(f"r{i}", str(rng.integers(4))) for i in range(rng.integers(0, 12))]
        at_work = Counter(str(rng.integers(4)) for _ in range(rng.integers(0, 4)))
        limit = int(rng.integers(0, 3))
        order, held = in_turn(waiting, at_work, {}, limit)
        assert sorted(order + held) == sorted(run for run, _ in waiting)
        owner = dict(waiting)
        busy = Counter(at_work)
        for place, run in enumerate(order):
            # Nobody gets a slot while somebody who waits has fewer.
            assert busy[owner[run]] == min(busy[owner[r]] for r in order[place:])
            busy[owner[run]] += 1
            assert not limit or busy[owner[run]] <= limit
        for who in set(owner.values()):
            theirs = [run for run, its in waiting if its == who]
            assert [run for run in order + held if owner[run] == who] == theirs


def test_expected_waits():
    assert waits(3, 2, [10.0, 30.0], 100.0) == [10.0, 30.0, 110.0]
    assert waits(2, 2, [10.0], 100.0) == [0.0, 10.0]
    assert waits(2, 1, [None], 100.0) == [None, None]
    assert waits(2, 1, [5.0], None) == [5.0, None], "the second depends on how long the first takes"


# -- what leaves ------------------------------------------------------------------------------


def kept(name: str, owner: str = "ann", *, size: float = 1.0, ended: bool = True, leaves=None):
    return Kept(name, owner, float(name[1:]), int(size * 1e9), ended, leaves)


def test_the_oldest_leave_first_and_are_warned_before():
    rules = Rules(runs=2)
    runs = [kept("r1"), kept("r2"), kept("r3"), kept("r4")]
    assert departures(runs, rules, now=100.0).warn == ("r1", "r2")
    assert departures(runs, rules, now=100.0).delete == ()
    warned = [kept("r1", leaves=150.0), kept("r2", leaves=150.0), kept("r3"), kept("r4")]
    assert departures(warned, rules, now=149.0).delete == ()
    assert departures(warned, rules, now=150.0).delete == ("r1", "r2")


def test_a_warning_is_taken_back_when_there_is_room_again():
    steps = departures([kept("r1", leaves=1.0), kept("r2")], Rules(runs=2), now=100.0)
    assert (steps.spare, steps.delete, steps.warn) == (("r1",), (), ())


def test_what_trains_or_waits_never_leaves():
    runs = [kept(f"r{i}", ended=False, leaves=1.0) for i in range(5)]
    steps = departures(runs, Rules(runs=1, disk_gb=1), now=100.0)
    assert steps.delete == steps.warn == ()


def test_one_person_does_not_push_out_another():
    runs = [kept("r1", "ben"), *(kept(f"r{i}", "ann") for i in range(2, 6))]
    assert departures(runs, Rules(runs=2), now=0.0).warn == ("r2", "r3")


def test_a_full_disk_makes_the_oldest_of_all_leave():
    runs = [kept("r1", "ben"), kept("r2", "ann", size=2), kept("r3", "ann")]
    assert departures(runs, Rules(disk_gb=3.5), now=0.0).warn == ("r1",)
    assert departures(runs, Rules(disk_gb=2.5), now=0.0).warn == ("r1", "r2")
    assert departures(runs, Rules(disk_gb=4), now=0.0).warn == ()


def test_a_lab_warns_waits_and_deletes(tmp_path):
    lab = Lab(tmp_path / "runs", ["cpu"], Rules(runs=1, warning_hours=2))  # noqa: F811
    try:
        runs = [lab.store.create(NICE, short(seed=seed)) for seed in range(3)]
        for age, run in enumerate(runs):
            run.notes.set_access(Access(ANN.id, ANN.name))
            status = run.status()
            run.write_status(type(status)(state="finished", created=status.created + age))
        now = time.time()
        lab.tend(now)
        leaving = [run.notes.leaves() for run in runs]
        assert leaving[:2] == [pytest.approx(now + 7200)] * 2 and leaving[2] is None
        lab.tend(now + 7199)
        assert all(run.path.exists() for run in runs)
        lab.delete(runs[2].id)
        lab.tend(now + 7199)
        assert runs[1].notes.leaves() is None, "one of the two may stay now"
        lab.tend(now + 7201)
        assert [run.path.exists() for run in runs] == [False, True, False]
    finally:
        lab.close()


# -- whose run is whose -----------------------------------------------------------------------


@pytest.fixture
def crowd(lab):  # noqa: F811
    """Seats of Ann, Ben, the teacher and a stranger, and a stopped run of Ann's."""
    seats = [Seat(lab, who) for who in (ANN, BEN, TEACHER, STRANGER)]
    run = lab.store.create(NICE, short())
    run.notes.set_access(Access(ANN.id, ANN.name))
    run.write_status(type(run.status())(state="stopped"))
    return *seats, run


def attempts(seat: Seat, run: Run):
    """Return every call that changes a run."""
    return [
        lambda: seat.command(run.id, "stop"),
        lambda: seat.resume(run.id),
        lambda: seat.rename(run.id, "mine"),
        lambda: seat.share(run.id, True),
        lambda: seat.delete(run.id),
        lambda: seat.stop_all([run.id]),
        lambda: seat.resume_all([run.id]),
        lambda: seat.compare(CLASSIC, entries(run)),
    ]


def entries(run: Run) -> list[Entry]:
    return [Entry(ENTRANTS["realnvp"], 0, None, run.id)]


def test_nobody_reaches_the_run_of_another_through_any_call(crowd):
    _, ben, _, stranger, run = crowd
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    for seat in (ben, stranger):
        assert seat.view(run.id) is None
        assert seat.get(run.id) is None
        assert list(seat.runs()) == [] and seat.active() == []
        for attempt in attempts(seat, run):
            with pytest.raises(RunError, match="no such run among yours"):
                attempt()
    after = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    assert after == before


def test_students_see_their_own_answers_and_the_teacher_those_of_all(crowd):
    ann, ben, teacher, stranger, _ = crowd
    ann.answers().save({"gan-1-one-side-alone": {"passed": True}})
    ben.answers().save({"nice-1-too-few-layers": {"guess": 1.0, "mine": 2.0}})
    assert list(ben.answers().load()) == ["nice-1-too-few-layers"]
    assert stranger.answers().load() == {}
    for seat in (ann, ben, stranger):
        with pytest.raises(PermissionError):
            seat.answers_of_all()
    found = {who.name: answers for who, answers in teacher.answers_of_all()}
    assert found == {ANN.name: ann.answers().load(), BEN.name: ben.answers().load()}
    rows = {row["Student"]: row for row in table(teacher.answers_of_all(), exercises())}
    assert rows[ANN.name]["Done"] == 1 and rows[BEN.name]["Done"] == 0
    assert rows[ANN.name]["gan-1-one-side-alone"] == MARKS["done"]
    assert rows[BEN.name]["nice-1-too-few-layers"] == MARKS["predicted"]
    lines = as_csv(teacher.answers_of_all(), exercises()).splitlines()
    assert [line.split(",")[2:4] for line in lines[1:]] in (
        [["gan-1-one-side-alone", "done"], ["nice-1-too-few-layers", "predicted"]],
        [["nice-1-too-few-layers", "predicted"], ["gan-1-one-side-alone", "done"]],
    )


def test_a_name_is_no_formula_in_a_spreadsheet():
    people = [(Person("=1+1", '=HYPERLINK("x")'), {"nice-1-too-few-layers": {"guess": -1.0}})]
    (_, line) = as_csv(people, exercises()).splitlines()
    assert line.startswith("\"'=HYPERLINK") and ",'=1+1," in line and ",-1.0," in line


def test_every_call_of_a_seat_is_covered():
    known = {"command", "resume", "rename", "share", "delete"}  # those of attempts()
    known |= {"stop_all", "resume_all", "compare", "delete_comparison"}
    reading = {"runs", "get", "may_change", "view", "wait", "active", "hidden"}
    reading |= {"comparisons", "devices", "devices_for"}
    own = {"submit", "submit_all", "bring_in", "signed_in", "lab", "who", "answers"}
    own |= {"answers_of_all"}  # for admins, see below
    public = {name for name in vars(Seat) if not name.startswith("_")}
    assert public <= known | reading | own


def test_nobody_sees_the_answers_of_another(crowd):
    ann, ben, teacher, stranger, _ = crowd
    ann.answers().save({"nice-1": {"guess": 3}})
    assert ann.answers().load() == {"nice-1": {"guess": 3}}
    assert all(seat.answers().load() == {} for seat in (ben, teacher, stranger))


def test_a_comparison_is_seen_by_who_sees_its_runs_and_deleted_by_their_owner(crowd):
    ann, ben, teacher, stranger, run = crowd
    comparison = ann.compare(CLASSIC, entries(run))
    assert [c.id for c in ann.comparisons()] == [c.id for c in teacher.comparisons()]
    assert ben.comparisons() == stranger.comparisons() == []
    with pytest.raises(RunError):
        ben.delete_comparison(comparison)
    ann.share(run.id, True)
    assert [c.id for c in ben.comparisons()] == [comparison.id]
    with pytest.raises(RunError):
        ben.delete_comparison(comparison)
    assert run.path.exists() and comparison.path.exists()
    ann.delete_comparison(comparison)
    assert not run.path.exists() and not comparison.path.exists()


def test_what_is_shared_can_be_seen_and_not_changed(crowd):
    ann, ben, _, stranger, run = crowd
    ann.share(run.id, True)
    assert ben.view(run.id).run.id == stranger.get(run.id).id == run.id
    assert [r.id for r in ben.runs()] == [run.id]
    assert not ben.may_change(run.id)
    for attempt in attempts(ben, run):
        with pytest.raises(RunError):
            attempt()
    ann.share(run.id, False)
    assert ben.view(run.id) is None


def test_owner_and_admin_may_do_all(crowd):
    ann, _, teacher, _, run = crowd
    for seat in (ann, teacher):
        assert seat.may_change(run.id)
        seat.rename(run.id, "ours")
        assert seat.view(run.id).run.notes.name() == "ours"
    teacher.delete(run.id)
    assert ann.view(run.id) is None


def test_a_stranger_starts_nothing_and_has_no_keys(crowd):
    *_, stranger, _ = crowd
    with pytest.raises(RunError, match="Sign in"):
        stranger.submit(NICE, short())
    with pytest.raises(RunError, match="Sign in"):
        stranger.bring_in(lambda store: store.create(NICE, short()))
    with pytest.raises(PermissionError):
        _ = stranger.lab


def test_a_run_without_an_owner_is_for_admins(lab):  # noqa: F811
    run = lab.store.create(NICE, short())
    assert Seat(lab, ANN).get(run.id) is Seat(lab, STRANGER).get(run.id) is None
    assert Seat(lab, TEACHER).get(run.id) is not None
    assert Seat(lab, EVERYBODY).get(run.id) is not None, "without sign-in all is shared"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"owner": "issuer ben"}', '{"owner":1,"name":2,"shared":"yes"}', "\0"],
)
def test_a_damaged_note_of_the_owner_opens_no_door(crowd, text):
    _, ben, teacher, _, run = crowd
    (run.path / "access.json").write_text(text)
    assert ben.get(run.id) is None
    assert teacher.get(run.id) is not None


def test_the_owner_does_not_leave_with_a_download_and_does_not_come_with_an_upload(crowd):
    run = crowd[-1]
    with zipfile.ZipFile(io.BytesIO(run.zipped())) as archive:
        assert not [name for name in archive.namelist() if "access" in name]
        assert ANN.name.encode() not in b"".join(archive.read(n) for n in archive.namelist())


def test_two_people_at_work_see_their_own(lab):  # noqa: F811
    ann, ben = Seat(lab, ANN), Seat(lab, BEN)
    of_ann, of_ben = ann.submit(NICE, long()), ben.submit(NICE, long(seed=1))
    assert [view.run.id for view in ann.active()] == [of_ann]
    assert [view.run.id for view in ben.active()] == [of_ben]
    assert ann.hidden() == ben.hidden() == 1
    wait_until(lambda: is_training(lab, of_ann) and is_training(lab, of_ben))
    with pytest.raises(RunError):
        ben.command(of_ann, "stop")
    assert is_training(lab, of_ann)
    ben.command(of_ben, "stop")
    wait_until(lambda: has_ended(lab, of_ben))
    assert is_training(lab, of_ann)


# -- limits while it works --------------------------------------------------------------------


def test_two_slots_are_shared_out_in_turn(lab, monkeypatch):  # noqa: F811
    monkeypatch.setattr(lab.limits, "rules", Rules(running=1, waiting=2))
    ann, ben = Seat(lab, ANN), Seat(lab, BEN)
    of_ann = [ann.submit(NICE, long(seed=seed)) for seed in range(3)]
    with pytest.raises(LabFull, match="2 of your runs"):
        ann.submit(NICE, long())
    wait_until(lambda: is_training(lab, of_ann[0]))
    assert lab.view(of_ann[1]).status.state == "queued", "one slot is free, but not for Ann"
    assert lab.view(of_ann[1]).held
    of_ben = ben.submit(NICE, long(seed=9))
    wait_until(lambda: is_training(lab, of_ben))
    assert [view.run.id for view in lab.active()] == [of_ann[0], of_ben, *of_ann[1:]]
    lab.command(of_ann[0], "stop")
    wait_until(lambda: is_training(lab, of_ann[1]))


def test_a_run_that_nobody_looks_at_is_parked_and_goes_on_when_its_owner_comes_back(
    lab,  # noqa: F811
    monkeypatch,
):
    ann, ben = Seat(lab, ANN), Seat(lab, BEN)
    run_id = ann.submit(NICE, long())
    ann.share(run_id, True)
    wait_until(lambda: is_training(lab, run_id, beyond=50))
    ann.view(run_id)
    monkeypatch.setattr(lab.limits, "rules", Rules(park_minutes=1 / 60))
    # Viewing keeps it at work, even if only somebody else looks.
    until = time.monotonic() + 2.5
    wait_until(lambda: ben.view(run_id).status.active and time.monotonic() > until)
    assert lab.view(run_id).status.state == "running"
    wait_until(lambda: lab.view(run_id).status.state == "parked")
    parked = lab.view(run_id).status
    assert "Nobody looked" in parked.message
    assert Run(lab.view(run_id).run.path).checkpoints.last()["experiment"]["step"] == parked.step
    assert ben.view(run_id).status.state == "parked", "another's look does not start it"
    wait_until(lambda: run_id not in lab._workers)
    wait_until(lambda: ann.view(run_id) and is_training(lab, run_id, beyond=parked.step))


def test_a_pause_makes_room_for_others_though_its_page_is_open(lab, monkeypatch):  # noqa: F811
    ann, ben = Seat(lab, ANN), Seat(lab, BEN)
    paused = [ann.submit(NICE, long(seed=seed)) for seed in range(2)]
    wait_until(lambda: all(is_training(lab, run_id) for run_id in paused))
    for run_id in paused:
        ann.command(run_id, "pause")

    def look() -> list[str]:  # as an open tab does
        return [ann.view(run_id).status.state for run_id in paused]

    wait_until(lambda: look() == ["paused"] * 2)
    monkeypatch.setattr(lab.limits, "rules", Rules(park_minutes=1 / 60))
    until = time.monotonic() + 2.5
    wait_until(lambda: look() == ["paused"] * 2 and time.monotonic() > until)
    waiting = ben.submit(NICE, long())
    wait_until(lambda: "stopped" in look() and ben.view(waiting).status.state == "running")
    status = lab.view(paused[look().index("stopped")]).status
    assert "paused" in status.message and "others waited" in status.message
    assert status.step > 0
    assert "paused" in look(), "only as many as it takes"


def test_a_comparison_keeps_to_what_may_wait(lab, monkeypatch):  # noqa: F811
    monkeypatch.setattr(lab.limits, "rules", Rules(running=1, waiting=3, queue=60))
    ann = Seat(lab, ANN)
    with pytest.raises(LabFull, match="at most 3"):
        ann.submit_all([(NICE, long(seed=seed)) for seed in range(60)])
    assert list(lab.store) == []
    ids = ann.submit_all([(NICE, long(seed=seed)) for seed in range(3)])
    wait_until(lambda: is_training(lab, ids[0]))
    ann.submit(NICE, long())
    with pytest.raises(LabFull, match="3 of your runs"):
        ann.submit(NICE, long())
    ann.stop_all(ids)
    wait_until(lambda: all(has_ended(lab, run_id) for run_id in ids))
    with pytest.raises(LabFull, match="3 more may not"):
        ann.resume_all(ids)
    Seat(lab, BEN).submit(NICE, long())


def test_one_person_does_not_fill_the_disk(lab, monkeypatch):  # noqa: F811
    run_id = Seat(lab, ANN).submit(NICE, long())
    wait_until(lambda: is_training(lab, run_id, beyond=20))
    monkeypatch.setattr(lab.limits, "rules", Rules(person_gb=1e-5))
    lab.tend(time.time())
    wait_until(lambda: has_ended(lab, run_id))
    assert "its owner" in lab.view(run_id).status.message
    with pytest.raises(LabFull, match="Your runs fill"):
        Seat(lab, ANN).submit(NICE, short())
    ben = Seat(lab, BEN)
    ben.submit(NICE, short())
    # What comes from files counts, and at once.
    for _ in range(100):
        try:
            ben.bring_in(lambda store: store.create(NICE, short()))
        except LabFull as error:
            assert "Your runs fill" in str(error)
            break
    assert lab.limits.used[BEN.id] < 2e4


def test_a_run_ends_when_its_time_is_up_and_cannot_be_resumed(lab, monkeypatch):  # noqa: F811
    monkeypatch.setattr(lab.limits, "rules", Rules(run_hours=1 / 3600))
    run_id = lab.submit(NICE, long())
    wait_until(lambda: has_ended(lab, run_id))
    status = lab.view(run_id).status
    assert status.state == "stopped" and "hours" in status.message
    assert 1 <= status.seconds < 5
    assert lab.view(run_id).run.checkpoints.last()["experiment"]["step"] == status.step
    with pytest.raises(RunError, match="has had its"):
        lab.resume(run_id)


def test_a_run_that_grows_too_large_is_stopped(lab, monkeypatch):  # noqa: F811
    run_id = lab.submit(NICE, long())
    wait_until(lambda: is_training(lab, run_id, beyond=20))
    monkeypatch.setattr(lab.limits, "rules", Rules(run_mb=0.001))
    lab.tend(time.time())
    wait_until(lambda: has_ended(lab, run_id))
    assert "MB" in lab.view(run_id).status.message


def test_a_full_share_of_the_disk_takes_no_new_run(lab, monkeypatch):  # noqa: F811
    lab.store.create(NICE, short())
    monkeypatch.setattr(lab.limits, "rules", Rules(disk_gb=1e-7))
    lab.tend(time.time())
    with pytest.raises(LabFull, match="Delete some"):
        lab.submit(NICE, short())
    with pytest.raises(LabFull):
        Seat(lab).bring_in(lambda store: store.create(NICE, short()))
    assert len(list(lab.store)) == 1


def test_waiting_runs_are_told_how_long(lab):  # noqa: F811
    for seconds in (10.0, 20.0, 30.0):
        lab._queue.took(seconds)
    ids = [lab.submit(NICE, long(seed=seed)) for seed in range(4)]
    wait_until(lambda: all(lab.view(run_id).rate for run_id in ids[:2]))
    first, second = lab.view(ids[2]), lab.view(ids[3])
    assert (first.ahead, second.ahead) == (0, 1)
    assert 0 < first.wait <= second.wait < math.inf


# -- in numbers -------------------------------------------------------------------------------


def test_the_census_and_what_prometheus_reads(lab):  # noqa: F811
    ids = [Seat(lab, ANN).submit(NICE, long(seed=seed)) for seed in range(3)]
    wait_until(lambda: is_training(lab, ids[0]) and is_training(lab, ids[1]))
    now = census(lab)
    assert [work.view.run.id for work in now.at_work] == ids[:2]
    assert [view.run.id for view in now.waiting] == ids[2:]
    assert (now.slots, now.runs) == (2, 3)
    assert now.disk == sum(run.size() for run in lab.store) or now.disk > 0
    assert all(work.memory > 2**20 for work in now.at_work)

    port = serve_metrics(lab, 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert 'genlab_active_runs{state="queued"} 1.0' in text
    assert "genlab_slots 2.0" in text and "genlab_owners_at_work 1.0" in text
    assert ANN.name not in text and ids[0] not in text


def test_prometheus_is_answered_where_the_rules_say_so(lab, monkeypatch, caplog):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(lab.limits, "rules", Rules(metrics_port=port))
        serve_as_ruled(lab)
    assert f"No metrics on port {port}" in caplog.text
    serve_as_ruled(lab)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert b"genlab_slots 2.0" in answer.read()


def test_who_makes_the_lab_is_told_once(monkeypatch, tmp_path):
    monkeypatch.setenv("GENLAB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(sys, "_generative_lab", None, raising=False)  # so that it is put back
    del sys._generative_lab
    told = []
    first = get_lab(told.append)
    try:
        assert get_lab(told.append) is first
        assert told == [first]
    finally:
        first.close()


# -- rules ------------------------------------------------------------------------------------


def test_the_example_of_a_class_is_valid_and_names_every_rule(monkeypatch):
    text = (DEPLOY / "class.toml").read_text()
    monkeypatch.setenv("GENLAB_CONFIG", str(DEPLOY / "class.toml"))
    rules = load_rules()
    assert rules.is_class and rules.sign_in
    assert all(f"\n{name} = " in text for name in Rules.model_fields)


def test_without_a_file_the_lab_is_a_persons_own(monkeypatch):
    monkeypatch.delenv("GENLAB_CONFIG", raising=False)
    assert load_rules() == Rules()
    assert not load_rules().is_class


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slotz = 2", "line 1: slotz is no rule"),
        ("runs = -1", "line 1: runs"),
        ("# mine\n\nruns = 'many'", "line 3: runs cannot be 'many'"),
        ("queue = 3\n'runs' = \"30\"", "line 2: runs cannot be '30'"),
        ("runs = 2.0", "line 1: runs cannot be 2.0"),
        ("sign_in = 'yes'", "line 1: sign_in cannot be 'yes'"),
        ("sign_in = 1", "line 1: sign_in cannot be 1"),
        ("disk_gb = inf", "line 1: disk_gb cannot be inf"),
        ("run_hours = nan", "line 1: run_hours cannot be nan"),
        ("disk_gb = true", "line 1: disk_gb cannot be True"),
        ("admins = 'ann'", "line 1: admins cannot be 'ann'"),
        ("admins = [\n  'ann', 4]", "line 1: admins cannot be 4"),
        ("[runs]\nof = 2", "line 1: runs cannot be"),
        ("runs = \nqueue = 3", "not TOML.*line 1"),
        ("runs = 1\nruns = 2\n", "not TOML.*line 2"),
    ],
)
def test_a_wrong_rule_is_told_with_its_name(tmp_path, text, words):
    path = tmp_path / "class.toml"
    path.write_text(text)
    with pytest.raises(RulesError, match=words):
        load_rules(path)


def test_whole_numbers_are_numbers_too(tmp_path):
    path = tmp_path / "class.toml"
    path.write_text("disk_gb = 50\nadmins = ['ann']")
    assert load_rules(path) == Rules(disk_gb=50.0, admins=("ann",))


@pytest.mark.parametrize("draw", [secrets.token_urlsafe, secrets.token_hex])
def test_a_drawn_secret_is_always_taken(draw):
    for _ in range(2000):
        check_sign_in({**AUTH, "cookie_secret": draw(32)}, "secrets.toml")


@pytest.mark.parametrize("field", AUTH)
@pytest.mark.parametrize("value", ["", None, 7, "xxx", "<yours>", "your-own", "..."])
def test_a_field_of_the_sign_in_that_is_not_filled_in_is_told(field, value):
    with pytest.raises(RulesError, match=rf"secrets\.toml: {field} "):
        check_sign_in({**AUTH, field: value}, "secrets.toml")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cookie_secret", "vel51pLl7iaTq_ImSc0ZBgrptT6qzk5"),
        ("cookie_secret", "abc" * 20),
        ("cookie_secret", "change-me-to-a-long-random-string-0123456789"),
        ("cookie_secret", "YOUR_COOKIE_SECRET_HERE_0123456789abcdef"),
        ("redirect_uri", "https://lab.example.org/oauth2callback"),
        ("redirect_uri", "lab.school.edu/oauth2callback"),
        ("server_metadata_url", "https://provider.example.com/.well-known/openid-configuration"),
    ],
)
def test_a_short_or_an_example_value_is_told(field, value):
    with pytest.raises(RulesError, match=rf"secrets\.toml: {field} "):
        check_sign_in({**AUTH, field: value}, "secrets.toml")


@pytest.mark.parametrize("auth", [None, "", []])
def test_a_sign_in_without_its_section_is_told(auth):
    with pytest.raises(RulesError, match=r"secrets\.toml has no section \[auth\]"):
        check_sign_in(auth, "secrets.toml")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(RulesError, match="cannot be read"):
        load_rules(tmp_path / "none.toml")


def test_who_is_an_admin():
    rules = Rules(admins=("Eve@School.org", "https://issuer 42", " "))
    assert rules.is_admin(["eve@school.org"]) and rules.is_admin(["https://issuer 42", ""])
    assert not rules.is_admin(["", " "])
    assert not rules.is_admin(["eve@elsewhere.org"])


def test_an_access_note_is_plain_json(tmp_path):
    run = Run.create(tmp_path / "run", NICE, short())
    run.notes.set_access(Access("issuer ann", "ann@school", True))
    assert json.loads((run.path / "access.json").read_text()) == {
        "owner": "issuer ann",
        "name": "ann@school",
        "shared": True,
    }
    assert run.notes.access() == Access("issuer ann", "ann@school", True)
