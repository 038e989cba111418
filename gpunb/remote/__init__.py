"""run: the agent as seen from here. Takes an SSH endpoint; knows no session and no provider."""
