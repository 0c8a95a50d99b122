"""What TensorBoard finds in the folder of a run."""

from __future__ import annotations

import csv
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from lab.driver import drive
from lab.runs.tensorboard import NAME, EventLog
from lab.store import Run
from registry import FAMILIES

NICE = FAMILIES["nice"]


def read(path) -> list[Event]:
    """Read a file of TFRecords and check both checksums of each."""
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        sums = struct.unpack("<I", data[8:12]) + struct.unpack("<I", data[12 + length :][:4])
        assert sums == (masked_crc32c(data[:8]), masked_crc32c(body))
        events.append(Event.FromString(body))
        data = data[16 + length :]
    return events


def curves(path) -> dict[tuple[int, str], float]:
    return {(e.step, v.tag): v.simple_value for e in read(path) for v in e.summary.value}


def table(run: Run) -> dict[tuple[int, str], float]:
    rows = csv.DictReader((run.path / "metrics.csv").read_text().splitlines())
    return {
        (int(row["step"]), name): float(cell)
        for row in rows
        for name, cell in row.items()
        if cell and name not in ("step", "seconds")
    }


def test_the_curves_are_those_of_the_metrics_also_after_a_resume(tmp_path):
    config = NICE.training.config(iterations=1000, layers=2, hidden=32, batch=64)
    run = Run.create(tmp_path / "run", NICE, config)
    commands = iter([None] * 40 + [("stop",)])
    drive(run, device="cpu", send=lambda _: None, receive=lambda _: next(commands))
    first = table(run)
    assert first and curves(run.path / NAME) == pytest.approx(first, rel=1e-6)
    drive(run, device="cpu", send=lambda _: None, receive=lambda _: None)
    assert len(table(run)) > len(first)
    assert curves(run.path / NAME) == pytest.approx(table(run), rel=1e-6)
    assert read(run.path / NAME)[0].file_version == "brain.Event:2"
    assert all(e.wall_time >= run.status().created for e in read(run.path / NAME))


def test_a_row_without_numbers_leaves_nothing(tmp_path):
    log = EventLog(tmp_path, created=1.0)
    log.begin([])
    log.append([{"step": 3, "seconds": 1.0, "loss": None}])
    assert len(read(tmp_path / NAME)) == 1


def test_tensorboard_itself_reads_it(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_file_loader", exc_type=ImportError
    )
    log = EventLog(tmp_path, created=1.0)
    log.begin([{"step": 1, "seconds": 0.1, "loss": 2.0}])
    log.append([{"step": 2, "seconds": 0.2, "loss": 1.0, "kl": 0.5}])
    events = list(reader.LegacyEventFileLoader(str(tmp_path / NAME)).Load())
    assert [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value] == [
        (1, "loss", 2.0),
        (2, "loss", 1.0),
        (2, "kl", 0.5),
    ]
