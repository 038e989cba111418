"""Recognize files with credentials by name; they are sent to a stranger only on request."""

from __future__ import annotations

import os
import re

__all__ = ["is_credential"]

_NAMES = {
    *(".env", ".envrc", ".netrc", "_netrc", ".pgpass", ".my.cnf", ".git-credentials", ".pypirc"),
    *(".dockercfg", ".boto", ".s3cfg", ".vault-token", ".htpasswd", ".kaggle.json", "kaggle.json"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk"),
    *("kubeconfig", "rclone.conf", "application_default_credentials.json", "credentials.tfrc.json"),
    *("credentials.db", "access_tokens.db", "secrets.toml", ".cookies.txt"),
}
_PLACES = (
    *(
        ".aws/credentials",
        ".aws/config",
        ".aws/sso/cache/",
        ".aws/cli/cache/",
        ".kube/config",
        ".kube/cache/",
    ),
    *(".docker/config.json", ".config/gcloud/", ".azure/", ".config/gh/hosts.yml", ".config/rclone/"),
    *(".huggingface/token", "huggingface/token", "huggingface/stored_tokens", ".config/github-copilot/"),
    *(".oci/config", ".gnupg/", ".password-store/", ".config/gpunb/", ".config/vastai/", ".vast_api_key"),
)
_ENDINGS = re.compile(r"\.(kubeconfig|ppk|p12|pfx|jks|keystore|kdbx|tfstate|tfvars|ovpn)$", re.IGNORECASE)
_KEYS = re.compile(r".*\.(pem|key)", re.IGNORECASE)
_ENV = re.compile(r"\.env[._-].+|.+\.env", re.IGNORECASE)
_HARMLESS = re.compile(r".*[._-](example|sample|template|dist|defaults?)", re.IGNORECASE)
_SERVICE = re.compile(r".*(service[_-]?account|client[_-]secret|gcp[_-]key).*\.json", re.IGNORECASE)


def is_credential(path: str, *, content: str = "") -> bool:
    """Whether the file `path` (``/`` between names) looks like a private key, a token or passwords.

    Parameters
    ----------
    content
        Where it can be read here: a ``.pem`` may also be a public certificate.
    """
    name = path.rpartition("/")[2].lower()
    if name in _NAMES or _SERVICE.fullmatch(name):
        return True
    if _ENV.fullmatch(name):
        return not _HARMLESS.fullmatch(name)
    if _ENDINGS.search(name):
        return True
    if name == ".npmrc":
        return not content or b"_auth" in _head(content)
    if _KEYS.fullmatch(name):
        return _is_private(content) if content else name.endswith(".pem")
    whole = f"/{path.lower()}"
    return any(
        f"/{place}" in whole if place.endswith("/") else whole.endswith(f"/{place}") for place in _PLACES
    )


def _is_private(path: str) -> bool:
    head = _head(path)
    return b"PRIVATE KEY" in head or not (b"CERTIFICATE" in head or b"PUBLIC KEY" in head)


def _head(path: str) -> bytes:
    try:
        fd = os.open(os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(fd, 2**14)
        finally:
            os.close(fd)
    except OSError:
        return b""
