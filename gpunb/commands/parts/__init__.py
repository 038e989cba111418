"""The parts of verbs that are too large for one module, or that several share.

Verbs import them; they import no verb.
"""
