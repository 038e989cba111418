"""A short check of the host: which GPUs it has, whether they work, its disk, cores and memory.

`machine` measures, each part with a limit of its own; `gpu_work` is a program that lets the GPUs compute.
"""

from __future__ import annotations
