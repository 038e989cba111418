"""The stream engine: a sync through the agent, over one or several channels, which goes on after a break.

`sync_session` drives it; `engine` moves what the plan says.
"""
