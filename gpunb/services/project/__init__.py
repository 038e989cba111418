"""A project's folder, here and on a host: where it begins, where it lies there, what goes and comes back.

One idea for ``--here``, ``--sync DIR``, ``--save`` and ``once``::

    project = Project(context, session, root(Path.cwd()))
    project.send()                      # changed files go; nothing newer there is replaced
    ... run something in project.cwd() ...
    for line in project.bring_back().lines(session): context.say(line)

See ``docs/project-folder.md``.
"""

from __future__ import annotations

from gpunb.services.project.folder import Project
from gpunb.sessions.project.bringing import Limits
from gpunb.sessions.project.places import bind, bound, place, root
from gpunb.sessions.project.report import Brought, Sent

__all__ = ["Brought", "Limits", "Project", "Sent", "bind", "bound", "place", "root"]
