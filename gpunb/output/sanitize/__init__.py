"""The filter that makes a host's output harmless before it is shown.

`gate` is the entry point; HTML, LaTeX, widgets and replies are rebuilt from checked values.
"""
