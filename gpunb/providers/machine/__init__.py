"""Parts of a create call that clouds share: image, registry login, ports, first-boot script.

Each provider converts them to its own format.
"""
