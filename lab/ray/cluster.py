"""The cluster that ``GENLAB_RAY_ADDRESS`` names: whether it is there, and what it has."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass

from lab.runs.files import RunError
from paths import ROOT
from training.core.devices import DEVICE, Machine, slots

ADDRESS = "GENLAB_RAY_ADDRESS"
ANSWER = 60.0  # seconds that a cluster may take to answer
PROBE = 3.0  # seconds that a look whether it is there may take


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster has when the lab starts.

    Attributes:
        cpus: on all nodes together.
        gpus: on all nodes together.
        largest: CPUs of the node that has most.
    """

    cpus: int
    gpus: int
    largest: int

    def slots(self, on_cpu: int = 0) -> list[str]:
        """Return one device per training at a time; see :func:`training.core.devices.slots`.

        Raises:
            ConfigError: ``GENLAB_DEVICE`` or ``GENLAB_SLOTS`` is nothing of the kind.
        """
        machine = Machine(("cuda",) * self.gpus, max(1, self.cpus))
        return slots(machine.only(os.environ.get(DEVICE, "")), on_cpu)


def find_cluster() -> Cluster | None:
    """Return the cluster that the lab is to use, or ``None``.

    Raises:
        RunError: ray is not installed, or no cluster answers.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return None
    # In a process of its own: a driver of Ray ends, with all that is in it, when its cluster does.
    command = [sys.executable, "-c", "from lab.ray.cluster import describe; describe()"]
    try:
        answer = subprocess.run(  # noqa: S603 - this Python, with words of our own
            command, cwd=ROOT, capture_output=True, text=True, timeout=ANSWER
        )
        return Cluster(**json.loads(answer.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, LookupError, ValueError, TypeError) as error:
        raise RunError(no_cluster(address)) from error


def no_cluster(address: str) -> str:
    """Return the sentence for people that says why there is no cluster."""
    try:
        import ray  # noqa: F401
    except ImportError:
        return f"{ADDRESS} is set, but ray is not installed: pip install -r requirements-ray.txt."
    return (
        f"No Ray cluster answers at {address}. Start it, with the token that the lab has, "
        f"or unset {ADDRESS}."
    )


def describe() -> None:
    """Print what the cluster has as one line of JSON."""
    ray = connect()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    found = {"cpus": sum(cpus), "gpus": gpus, "largest": max(cpus, default=0)}
    sys.stdout.write(json.dumps(found) + "\n")
    ray.shutdown()


def need(device: str, threads: int) -> dict[str, int]:
    """Return what a training asks the cluster for."""
    return {"num_cpus": threads, "num_gpus": 1 if device.startswith("cuda") else 0}


def answers(address: str) -> bool:
    """Return whether somebody listens at ``host:port``; what is no such address may be anything."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return True
    try:
        socket.create_connection((host, int(port)), timeout=PROBE).close()
        return True
    except OSError:
        return False


def connect():
    """Return ``ray``, connected to the cluster.

    Raises:
        Exception: whatever Ray raises; there is no cluster.
    """
    import ray

    if not answers(os.environ[ADDRESS]):
        raise ConnectionError  # Ray itself would try for minutes
    ray.init(address=os.environ[ADDRESS], log_to_driver=False, logging_level="ERROR")
    return ray
