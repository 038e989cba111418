"""Running on all members of a group: a cell, a job or a command, each by its rank.

`members` says who they are, `cells` starts a run on each, and `playing` shows them on one screen.
"""
