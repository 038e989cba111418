"""Parts of verbs that are too large for one module, or that several verbs share.

Verbs import them; they import no verb.
"""
