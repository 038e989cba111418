"""Syncs between a host and an object store (S3, GCS, Azure, Hugging Face, HTTP).

The host moves the bytes itself by signed URLs where it can; else they pass through here.
"""
