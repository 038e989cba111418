"""Checks on what a cloud sends over HTTP: sizes, fields and texts.

`limits` bounds answers, `payload` reads them; `rate_limit` and `proxies` are about the way there.
"""
