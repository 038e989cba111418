"""Groups of sessions: renting them together, and what becomes of half a group."""
