"""reach: keys, pinned host keys, connections and forwards. Knows endpoints, no sessions."""
