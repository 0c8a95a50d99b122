"""Who may see and who may change a run. Nobody is asked here who they are: that is the page's part.

A run belongs to who started it. Its owner and the lab's admins may do all with it; others may look
at it if it is shared. A run that belongs to nobody (from the command line, or from before there was
a sign-in) is for admins only. Without sign-in, everybody is an admin.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at the lab.

    Attributes:
        id: unique, and the same at each visit: issuer and subject of the sign-in.
        name: what others call them, an e-mail address say.
        admin: whether they may do all with all runs.
    """

    id: str
    name: str = ""
    admin: bool = False


EVERYBODY = Person("", "everybody", admin=True)  # who there is without sign-in


@dataclass(frozen=True, slots=True)
class Access:
    """To whom a run belongs.

    Attributes:
        owner: the id of a person, or an empty string.
        name: what others call that person.
        shared: whether everybody may look at it.
    """

    owner: str = ""
    name: str = ""
    shared: bool = False

    def lets_see(self, who: Person) -> bool:
        """Return whether a person may look at it, take it away, and use its settings."""
        return self.shared or self.lets_change(who)

    def lets_change(self, who: Person) -> bool:
        """Return whether a person may command, rename, share and delete it."""
        return who.admin or (bool(self.owner) and self.owner == who.id)


def owned_by(who: Person) -> Access:
    """Return the access of a run that a person starts."""
    return Access(who.id, who.name)
