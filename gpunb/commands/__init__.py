"""The verbs: one click command each, behind both doors."""
