"""The framework of the verbs: the grammar, how a verb is declared, what it is given, how it shows progress.

`main` finds a verb by its name, `command` declares one, `context` is what it is given.
"""
