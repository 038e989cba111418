"""The processes of a job: `runner` starts and journals it, `notebook` runs a notebook as one.

Each job has its own, so that neither a broken connection nor the agent's end touches it.
"""
