"""The frontend of coding agents: the tools of ``gpunb mcp``, over the MCP SDK's standard input and output.

Each tool is a line of the verbs' grammar, run by a process of its own (`calls`), so that it says and refuses
what the verb says and refuses. What takes long is a `tasks.Task`, which outlives the client and this server;
`outputs` gives a run's output from a number on, as quoted data.
"""
