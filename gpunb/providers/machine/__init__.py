"""The parts of a create call that clouds share: image, registry login, ports, first-boot script.

Each provider turns them into its own words.
"""
