"""What runs inside the kernel's process: an ipykernel whose output is written to files before it is sent.

Standard library and ipykernel only.
"""
