"""Figures that we hold ourselves to: ``python -m benchmarks NAME``.

Each module here whose name does not start with an underscore is one benchmark:
its first docstring line says what it measures, and ``run(options)`` returns a
`Report`. The last line that is printed is one line of JSON.
"""

from __future__ import annotations

from benchmarks._report import Bar, Options, Report, Result

__all__ = ["Bar", "Options", "Report", "Result"]
