"""What runs beside a job: its runner, and a notebook run as a job.

Each job has a process of its own.
"""
