"""The command line: ``python -m benchmarks [name ...] [--quick]``. Tables go to standard output."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys

from benchmarks import machine
from benchmarks.options import FAMILIES, Options, Unavailable

# name: (module, belongs to the everyday set, what it measures)
BENCHMARKS = {
    "flows": ("flow_speed", True, "steps/s of a RealNVP beside normflows and zuko; a minute"),
    "lab": ("lab_speed", True, "click to image, steps/s with the page open, rerun; 3 minutes"),
    "stage": ("stage_speed", False, "a live update: server, bytes, frames/s; 2 minutes"),
    "glow": ("glow_speed", False, "Glow beside normflows: speed, memory, bits/dim; 30 minutes"),
    "maf": ("maf_speed", False, "MAF: sampling and training at full size; 10 minutes"),
    "capsules": ("maf_capsules", False, "MAF on MVTec's capsules, three seeds; hours"),
    "vae": ("vae", False, "a VAE beside the DataLoader example: images/s, nats; 25 minutes"),
    "gan": ("gan_speed", False, "DCGAN beside the PyTorch tutorial, the duel's steps/s; 6 minutes"),
    "gan_quality": ("gan_quality", False, "modes, good samples, collapse; a day of 50 seeds"),
    "cyclegan": ("cyclegan_speed", False, "CycleGAN beside the standard order; 22 minutes"),
    "fruits": ("cyclegan_fruits", False, "CycleGAN on rendered fruits, three seeds; 2 hours"),
    "exercises": ("exercises", False, "what the exercises come to, three seeds; 30 minutes"),
    "healthy": ("healthy", False, "which settings train well, three seeds; 5 minutes"),
    "load": ("load", False, "forty sessions, and 2,000 presses at random; 15 minutes"),
    "attack": ("attack", False, "memory while twenty visitors try to fill it; 20 minutes"),
    "faults": ("faults", False, "64 rounds of harm: killed, disk full, damaged; 20 minutes"),
    "flow_matching": ("flow_matching", False, "KL by path, samples by steps; 15 minutes"),
    "quality": ("flow_quality", False, "KL to the truth after 3,000 steps; slow, 10 minutes"),
}
EVERYDAY = [name for name, (_, everyday, _) in BENCHMARKS.items() if everyday]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code.

    It is 1 if a benchmark that was asked for by name had to be left out.
    """
    options, names = _parse(arguments)
    # So that `finally` is reached, and what was started is ended, when somebody ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(machine.describe(), flush=True)
    left_out = False
    for name in names or EVERYDAY:
        module = importlib.import_module(f"benchmarks.{BENCHMARKS[name][0]}")
        try:
            for table in module.run(options):
                print(f"\n{table}", flush=True)
        except Unavailable as reason:
            print(f"\n{name}: left out. {reason}", flush=True)
            left_out = True
    return int(left_out and bool(names))


def _parse(arguments: list[str] | None) -> tuple[Options, list[str]]:
    listed = "\n".join(f"  {name:8} {what}" for name, (_, _, what) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="This lab beside its peers, in one run and on the same work.\n\n"
        f"benchmarks:\n{listed}\n\nWithout a name: {', '.join(EVERYDAY)}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="what to measure")
    parser.add_argument("--quick", action="store_true", help="rough numbers, fast")
    parser.add_argument("--no-peers", action="store_true", help="glow, quality: only the lab's own")
    quality = parser.add_argument_group("quality")
    quality.add_argument("--seeds", nargs="+", type=int, help="default: 0 1 2 3 4")
    quality.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parsed = parser.parse_args(arguments)
    unknown = [name for name in parsed.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    seeds = tuple(parsed.seeds) if parsed.seeds else None
    options = Options(parsed.quick, seeds, tuple(parsed.families), not parsed.no_peers)
    return options, parsed.names


if __name__ == "__main__":
    sys.exit(main())
