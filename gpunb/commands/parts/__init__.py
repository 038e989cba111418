"""Parts of verbs that are too large for one module; no verb in itself.

Verbs import them, they import no verb.
"""
