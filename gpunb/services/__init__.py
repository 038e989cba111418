"""What every door can do, once: the application layer under verbs, server and widgets.

A door (``commands``, ``notebook``, ``server``) asks and shows; what is asked and done is decided here.
"""
