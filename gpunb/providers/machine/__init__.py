"""What is asked of a rented machine: image, registry password, ports, first-boot script.

Shared by the clouds.
"""
