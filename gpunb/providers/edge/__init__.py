"""What comes from a cloud over HTTP, bounded, checked and cleaned.

Rates and proxies of the way there too.
"""
