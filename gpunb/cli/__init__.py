"""The framework of the verbs: declaration, lookup, invocation and completion.

`main` finds a verb by its name, `command` declares one, `context` is passed to it.
"""
