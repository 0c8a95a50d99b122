"""The curves of a run as TensorBoard reads them: ``tensorboard --logdir runs``."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from datasets.files import write_atomic
from lab.runs.files import append_whole

NAME = "events.out.tfevents.0.genlab"  # the part before "genlab" is what TensorBoard looks for
NOT_CURVES = ("step", "seconds")


class EventLog:
    """Writes the rows of ``metrics.csv`` beside it, a curve for each column.

    Args:
        folder: of the run.
        created: Unix time of its creation; rows stand ``seconds`` after it.
    """

    def __init__(self, folder: Path, created: float) -> None:
        self.path, self.created = folder / NAME, created

    def begin(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Write the file anew, with rows that are there already.

        Raises:
            OSError: it cannot be written.
        """
        head = _record(self._event(0.0, file_version="brain.Event:2"))
        write_atomic(self.path, lambda file: file.write(head + b"".join(self._records(rows))))

    def append(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Add rows.

        Raises:
            OSError: it cannot be written; then it is as it was.
        """
        append_whole(self.path, b"".join(self._records(rows)))

    def _records(self, rows: Iterable[Mapping[str, float]]) -> Iterator[bytes]:
        for row in rows:
            values = {k: v for k, v in row.items() if k not in NOT_CURVES and v is not None}
            if values:
                event = self._event(row.get("seconds", 0.0), step=int(row["step"]))
                for name, value in values.items():
                    event.summary.value.add(tag=name, simple_value=float(value))
                yield _record(event)

    def _event(self, seconds: float, **values: object):
        # Here, because only who writes needs it.
        from tensorboardX.proto.event_pb2 import Event

        return Event(wall_time=self.created + seconds, **values)


def _record(event) -> bytes:
    """Return an event in the frame of a TFRecord: length, its checksum, data, its checksum."""
    from tensorboardX.record_writer import masked_crc32c

    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + sums[0] + data + sums[1]
