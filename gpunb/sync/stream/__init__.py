"""The stream engine: a sync through the agent that resumes after the connection broke.

`sync_session` drives it; `engine` moves what the plan names.
"""
