"""Plug-ins of pytest that tests/conftest.py loads."""
