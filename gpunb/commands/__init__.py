"""The verbs, one module each, in the groups of ``gpunb -h``: renting, running, files, watching, account.

A verb asks `gpunb.services` and answers with a `gpunb.presentation.result.Result`.
"""
