"""The part of the agent that this side imports too: frames, file frames, plain values, variables.

Standard library only, Python 3.8.
"""
