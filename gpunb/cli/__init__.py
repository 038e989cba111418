"""The framework of the verbs: how one is declared, found, called and completed.

`main` finds a verb by its name, `command` declares one, `context` is what it is given.
"""
