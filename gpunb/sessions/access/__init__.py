"""From a session to its host: connection and agent, ports, activity, who rented it.

`host_access` is the way in.
"""
