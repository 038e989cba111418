"""Simulated clouds served over HTTP on loopback, in threads or in a process of their own."""
