"""Stand-in for ``sshd`` in a simulated container: checks its set-up, records what it would show, and ends.

Runs in a simulated container.

Of sshd's own rules: its name is an absolute path, a host key that others can
read is not used, without a host key it does not start, without ``-D`` it goes
to the background. A file of its configuration is not followed.
"""

from __future__ import annotations

import getopt
import json
import os
import sys

HEAD = "-----BEGIN OPENSSH PRIVATE KEY-----\n"


def main() -> int:
    """Parse the command line, check the keys, write ``sshd.json``."""
    if not os.path.isabs(sys.argv[0]):
        print("sshd re-exec requires execution with an absolute path", file=sys.stderr)
        return 255
    try:
        flags, rest = getopt.getopt(sys.argv[1:], "46DdeiqtTf:h:o:p:")
    except getopt.GetoptError as err:
        print("usage: sshd:", err, file=sys.stderr)
        return 1
    settings: dict[str, list[str]] = {}
    for flag, value in flags:
        if flag == "-o":
            name, _, word = value.replace("=", " ", 1).partition(" ")
            settings.setdefault(name.lower(), []).append(word.strip())
        elif flag == "-h":
            settings.setdefault("hostkey", []).append(value)
        elif flag == "-f" and not os.path.exists(value):
            print(value + ": No such file or directory", file=sys.stderr)
            return 1
    if rest:
        print("Extra argument " + rest[0] + ".", file=sys.stderr)
        return 1
    wanted = settings.get("hostkey", [])
    keys = [key for key in map(_key, wanted) if key]
    if wanted and not keys:
        print("sshd: no hostkeys available -- exiting.", file=sys.stderr)
        return 1
    root = sys.argv[0].partition("/usr/")[0]
    facts = {
        "host_keys": keys,
        "foreground": ("-D", "") in flags,
        "environment": settings.get("permituserenvironment", ["no"])[0] == "yes",
    }
    with open(os.path.join(root, "sshd.json"), "w", encoding="utf-8") as out:
        json.dump(facts, out)
    print("Server listening on 0.0.0.0 port 22.", file=sys.stderr)
    return 0


def _key(path: str) -> str:
    try:
        if os.stat(path).st_mode & 0o077:
            print("Permissions for '" + path + "' are too open.", file=sys.stderr)
            return ""
        with open(path, encoding="utf-8") as source:
            text = source.read()
    except OSError:
        print("Unable to load host key: " + path, file=sys.stderr)
        return ""
    return text if text.startswith(HEAD) else ""


if __name__ == "__main__":
    sys.exit(main())
