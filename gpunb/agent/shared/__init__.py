"""The part of the agent that gpunb imports too: frames, the journal, plain values, variables.

Standard library only, Python 3.8 or newer.
"""
