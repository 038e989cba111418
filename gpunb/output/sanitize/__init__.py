"""What a host sends, made harmless before it is shown: one gate for all of it.

HTML, LaTeX, widgets and replies are rebuilt from checked values.
"""
