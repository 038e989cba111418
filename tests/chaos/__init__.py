"""Random schedules over simulated clouds: crashes, faults and restarts, and what they leave billed."""
