"""Checks of what a cloud sends over HTTP: sizes, fields and texts.

`limits` bounds answers, `payload` parses them; `rate_limit` and `proxies` concern the connection.
"""
