"""Models, tables and columns of everything that is shown.

Terminals, notebooks, the REST API and JupyterLab take their fields and columns from here.
"""
