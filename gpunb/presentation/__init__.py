"""The models, tables and columns of everything that is shown.

Terminals, notebooks, the REST API and JupyterLab take a field or a column of offers from here.
"""
