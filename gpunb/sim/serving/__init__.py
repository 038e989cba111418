"""HTTP serving of the simulated clouds on loopback, in threads or in a process of their own.

`runner` serves an app; `gate` stands before it with rate limits, faults and the lock.
"""
