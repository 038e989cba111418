"""Words and frames of a transfer from host to host, which both ends know."""

from __future__ import annotations

import struct

NO = b"gpunb-direct: no such line"
HERE = "/gpunb-direct"  # stands for the folder with the key in what is dialled
TAKE = struct.Struct(">IQQH")  # number, start, end, length of path (0: thrown away)
