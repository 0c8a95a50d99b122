"""The lab as one person has it: whatever the pages do goes through here.

Whose run is whose is read from the run's folder each time, so no widget, address or session can
say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from lab.answers import Answer, Answers, answers_of_all
from lab.comparison import Comparison, Entry, Terms, comparisons_in, new_path
from lab.lab import Lab
from lab.runs.access import EVERYBODY, Access, Person, owned_by
from lab.store import Run, RunError, RunStore
from lab.view import View
from registry import Family
from training.core.config import RunConfig
from training.core.family import Own

NOT_YOURS = "There is no such run among yours."


class Seat:
    """What one person can do in a lab.

    Runs of others that are not shared do not exist here: they are neither listed nor found, and an
    attempt to change one is refused with the same words as for one that never was.

    Args:
        lab: the lab of the server.
        who: the person.
    """

    def __init__(self, lab: Lab, who: Person = EVERYBODY) -> None:
        self._lab, self.who = lab, who

    # -- finding ------------------------------------------------------------------------------

    def runs(self) -> Iterator[Run]:
        """Yield the runs that this person may see, newest first."""
        return (run for run in self._lab.store if run.notes.access().lets_see(self.who))

    def get(self, run_id: str) -> Run | None:
        """Return a run that this person may see, or ``None``."""
        run = self._lab.store.get(run_id)
        return run if run is not None and run.notes.access().lets_see(self.who) else None

    def may_change(self, run_id: str) -> bool:
        """Return whether this person may command, rename, share and delete a run."""
        run = self._lab.store.get(run_id)
        return run is not None and run.notes.access().lets_change(self.who)

    def view(self, run_id: str) -> View | None:
        """Return what to show of a run, or ``None``; a parked one of this person's goes on."""
        run = self._lab.store.get(run_id)
        access = run.notes.access() if run is not None else None
        if access is None or not access.lets_see(self.who):
            return None
        self._lab.look(run_id, wake=access.lets_change(self.who))
        return self._lab.view(run_id)

    def wait(self, run_id: str, seq: int, timeout: float) -> None:
        """Wait at most ``timeout`` seconds until a run has a snapshot and news beyond ``seq``."""
        if self.get(run_id) is not None:
            self._lab.wait(run_id, seq, timeout)

    def active(self) -> list[View]:
        """Return the runs at work or in the queue that this person may see."""
        return [view for view in self._lab.active() if view.access.lets_see(self.who)]

    def hidden(self) -> int:
        """Return how many runs of others are at work or in the queue, unseen by this person."""
        return sum(not view.access.lets_see(self.who) for view in self._lab.active())

    # -- changing -----------------------------------------------------------------------------

    def submit(self, family: Family, config: RunConfig, own: Own | None = None) -> str:
        """Create a run and start it, or queue it; return its id.

        Raises:
            LabFull: the queue or the disk is full.
            RunError: nobody has signed in, or the folder of runs cannot be written.
        """
        self._check_somebody()
        return self._lab.submit(family, config, own, self.who)

    def bring_in(self, make: Callable[[RunStore], Run]) -> Run:
        """Keep a run that a file of this person's becomes.

        Args:
            make: makes it in the store.

        Raises:
            LabFull: the disk is full.
            RunError: nobody has signed in, or the folder of runs cannot be written.
        """
        self._check_somebody()
        limits = self._lab.limits
        limits.check_disk(self.who.id)
        run = make(self._lab.store)
        run.notes.set_access(owned_by(self.who))
        limits.used[self.who.id] += run.size()  # before the next one: that may come at once
        return run

    def submit_all(self, wanted: Sequence[tuple[Family, RunConfig]]) -> list[str]:
        """Create several runs that wait together, behind all single ones; return their ids.

        Raises:
            LabFull: too many wait in this way already, or the disk is full.
            RunError: nobody has signed in, or the folder of runs cannot be written.
        """
        self._check_somebody()
        return self._lab.submit_all(wanted, self.who)

    def stop_all(self, run_ids: Sequence[str]) -> None:
        """Stop several runs.

        Raises:
            RunError: one of them is not this person's.
        """
        for run_id in run_ids:
            self._own(run_id)
        self._lab.stop_all(run_ids)

    def resume_all(self, run_ids: Sequence[str]) -> None:
        """Go on with several runs; they wait behind all single ones.

        Raises:
            LabFull: too many wait in this way already, or the disk is full.
            RunError: one of them is not this person's, or has had all its time.
        """
        for run_id in run_ids:
            self._own(run_id)
        self._lab.resume_all(run_ids)

    def command(self, run_id: str, *command: object) -> None:
        """Send ``pause``, ``resume``, ``step``, ``stop`` or ``set, name, value`` to a run.

        Raises:
            RunError: it is not this person's.
        """
        self._own(run_id)
        self._lab.command(run_id, *command)

    def resume(self, run_id: str) -> None:
        """Go on with a run from its last checkpoint.

        Raises:
            LabFull: the queue or the disk is full.
            RunError: it is not this person's, or has had all its time.
        """
        self._own(run_id)
        self._lab.resume(run_id)

    def rename(self, run_id: str, name: str) -> None:
        """Call a run something; an empty name takes that back.

        Raises:
            RunError: it is not this person's, or cannot be written.
        """
        self._own(run_id).notes.rename(name)

    def share(self, run_id: str, shared: bool) -> None:
        """Let everybody look at a run, or nobody else.

        Raises:
            RunError: it is not this person's, or cannot be written.
        """
        self._lab.share(run_id, replace(self._own(run_id).notes.access(), shared=shared))

    def delete(self, run_id: str) -> None:
        """Delete a run for good.

        Raises:
            RunError: it is not this person's, someone trains it, or it cannot be deleted.
        """
        self._own(run_id)
        self._lab.delete(run_id)

    def _check_somebody(self) -> None:
        if not self.who.id and not self.who.admin:
            raise RunError("Sign in first.")

    def _own(self, run_id: str) -> Run:
        run = self._lab.store.get(run_id)
        if run is None or not run.notes.access().lets_change(self.who):
            raise RunError(NOT_YOURS)
        return run

    # -- comparisons --------------------------------------------------------------------------

    def comparisons(self) -> list[Comparison]:
        """Return the comparisons of which this person may see every run, newest first."""
        return [c for c in comparisons_in(self._lab.store) if self._may(c, Access.lets_see)]

    def compare(self, terms: Terms, entries: Sequence[Entry]) -> Comparison:
        """Write down a comparison of runs that this person has just started.

        Raises:
            RunError: one of them is not this person's, or it cannot be written.
        """
        for entry in entries:
            self._own(entry.run)
        store = self._lab.store
        return Comparison.create(new_path(store), store, terms, entries)

    def delete_comparison(self, comparison: Comparison) -> None:
        """Delete a comparison and its runs for good.

        Raises:
            RunError: it is not this person's, is at work, or cannot be deleted.
        """
        if not self._may(comparison, Access.lets_change):
            raise RunError(NOT_YOURS)
        for entry in comparison.entries:
            self._lab.delete(entry.run)
        try:
            comparison.path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{comparison.path} cannot be deleted: {error.strerror}.") from error

    def _may(self, comparison: Comparison, rule: Callable[[Access, Person], bool]) -> bool:
        """Return whether a rule holds for all runs; with none left it is for admins only."""
        runs = [run for entry in comparison.entries if (run := comparison.run_of(entry))]
        allowed = all(rule(run.notes.access(), self.who) for run in runs)
        return allowed and bool(runs or self.who.admin)

    # -- the lab itself -----------------------------------------------------------------------

    @property
    def devices(self) -> list[str]:
        """The devices that may train at the same time, one entry per training."""
        return list(self._lab.devices)

    def devices_for(self, family: Family) -> list[str]:
        """Return those of them on which runs of a family train."""
        return self._lab.devices_for(family)

    def answers(self) -> Answers:
        """Return where this person's answers to the exercises are kept."""
        return Answers(self._lab.store.root, self.who)

    def answers_of_all(self) -> list[tuple[Person, dict[str, Answer]]]:
        """Return everybody's answers to the exercises, for admins.

        Raises:
            PermissionError: this person is none.
        """
        return list(answers_of_all(self.lab.store.root))

    @property
    def signed_in(self) -> bool:
        """Whether this is a person of their own, and not everybody."""
        return self.who != EVERYBODY

    @property
    def lab(self) -> Lab:
        """The whole lab, for admins.

        Raises:
            PermissionError: this person is none.
        """
        if not self.who.admin:
            raise PermissionError("Only who runs the lab may do that.")
        return self._lab
