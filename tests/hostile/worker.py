"""Carry out the corpus in a process with limits, and tell what came of it as JSON.

Memory is what the process held at the worst moment beyond what it held before the case. Files and
programs are seen by Python's audit hooks, whoever opens or starts them.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

SPACE = 4 * 2**30  # bytes of addresses beyond those at the start
CPU = 240  # seconds in all
WORDS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect",
         "socket.getaddrinfo", "urllib.", "pickle.find_class", "ctypes.dlopen", "os.symlink",
         "os.link", "webbrowser.")  # fmt: skip
ZONES = "/usr/share/zoneinfo"
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.")


class Watch:
    """Notes what a case opens, changes and starts outside of its own folder."""

    def __init__(self, allowed: list[Path]) -> None:
        self.readable = [str(path.resolve()) for path in allowed]
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple) -> None:
        if self.folder is None:
            return
        if event.startswith(WORDS):
            self.seen.append(f"{event} {arguments!r}"[:200])
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path, mode, flags = arguments
            writes = bool(set(mode or "") & set("wax+")) or bool(
                (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            self._look(os.fsdecode(path), writes)
        elif event.startswith(CHANGES):
            # Below a folder that is open already the path says nothing; that folder was looked at.
            below = event in ("os.mkdir", "os.remove", "os.rmdir") and arguments[-1] != -1
            for path in () if below else arguments:
                if isinstance(path, str | bytes | Path):
                    self._look(os.fsdecode(path), True)

    def _look(self, path: str, writes: bool) -> None:
        folder, self.folder = self.folder, None  # what follows is our own doing
        real = os.path.realpath(path)
        inside = [folder] if writes else [folder, *self.readable]
        if not any(real == top or real.startswith(top + os.sep) for top in inside):
            self.seen.append(f"{'wrote' if writes else 'read'} {path[:200]}")
        self.folder = folder


def memory(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)[1]) * 1024


def measure(case, door, context, watch: Watch, folder: Path) -> dict:
    began = time.process_time()
    data = case.make(context)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before, started = memory("VmRSS"), time.process_time()
    told = {"error": "", "message": ""}
    watch.seen, watch.folder = [], str(folder.resolve())
    try:
        door(data, folder)
    except Exception as error:
        watch.folder = None
        told = {"error": type(error).__name__, "message": str(error)}
        told["where"] = traceback.format_exc()[-1500:]
    watch.folder = None
    return {
        **told,
        "bytes": memory("VmHWM") - before,
        "seconds": time.process_time() - started,
        "made": started - began,
        "seen": watch.seen,
        "left": sorted(path.name for path in folder.iterdir() if path.name != "tmp"),
        "canary": context.canary.exists(),
    }


def main() -> None:
    import torch
    from hostile.cases import CASES, CONTROLS, DOORS, Context, clear

    root = Path(sys.argv[1]).resolve()
    torch.set_num_threads(1)
    context = Context(root)
    _ = context.files, context.weights
    watch = Watch([Path(p) for p in (sys.prefix, sys.base_prefix, ".", "/proc", "/dev", ZONES)])
    most = memory("VmSize") + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
    folder = root / "place"
    gc.collect()
    gc.freeze()  # what torch and others have made need not be looked through each time
    known = {**CASES, **CONTROLS}
    for name in json.load(sys.stdin):
        clear(folder)
        (folder / "tmp").mkdir()
        tempfile.tempdir = str(folder / "tmp")
        case = known[name]
        told = measure(case, DOORS[case.door], context, watch, folder)
        sys.stdout.write(json.dumps({"name": name, **told}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
