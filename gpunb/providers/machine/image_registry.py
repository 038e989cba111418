"""Facts about a public image from its registry: its own command, and its size.

Anonymous calls of the OCI distribution API, bounded in time and memory. Renting does not depend on them:
nothing is known of an image whose registry is silent, private or odd.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import threading
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import quote, urljoin, urlsplit

import httpx

from gpunb import log
from gpunb.errors import GpunbError
from gpunb.providers.edge import limits
from gpunb.providers.edge.proxies import certificates
from gpunb.providers.edge.text import clean

__all__ = ["ImageInfo", "Reference", "Unread", "look_up", "reference"]

_log = log.get(__name__)

PATIENCE_S = 6.0
_MOST_BYTES = 4 * 2**20
_MOST_COMMAND = 2048
_HUB = "registry-1.docker.io"
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?")
_REGISTRY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::\d{1,5})?|\[::1\](?::\d{1,5})?")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha(?:256|512):[0-9a-f]{64,128}")
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_REDIRECTS = {301, 302, 303, 307, 308}


class Unread(GpunbError):
    """Nothing could be read of the image; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference of an image: its registry's host, its name there, and its tag or digest."""

    host: str
    name: str
    tag: str

    @property
    def local(self) -> bool:
        """Whether the registry is on this machine; it needs no TLS there, as for docker."""
        return _LOOPBACK.fullmatch(self.host) is not None

    @property
    def base(self) -> str:
        """The address of its API."""
        return f"{'http' if self.local else 'https'}://{self.host}/v2/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """Facts about an image from its registry.

    Attributes
    ----------
    words
        Its entrypoint and that one's arguments; empty where it has none.
    folder
        Where it is started.
    size_gb
        What is pulled of it, GB, compressed.
    """

    words: tuple[str, ...] = ()
    folder: str = ""
    size_gb: float = 0.0

    @property
    def command(self) -> str:
        """Its own command as one shell line; "" where it has none."""
        line = shlex.join(self.words)
        return f"cd {shlex.quote(self.folder)} && {line}" if line and self.folder not in {"", "/"} else line


def reference(image: str) -> Reference:
    """Parse `image` as docker does.

    Raises
    ------
    Unread
        It is none that a registry has, such as a tag that a cloud chooses for each host.
    """
    name, _, digest = image.strip().removeprefix("docker://").partition("@")
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        host, name = head, rest
    else:
        host = "docker.io"
    name, _, tag = name.partition(":")
    if host in {"docker.io", "index.docker.io"}:
        host, name = _HUB, name if "/" in name else f"library/{name}"
    wanted = digest or tag or "latest"
    good = _REGISTRY.fullmatch(host) and len(name) < 256 and _NAME.fullmatch(name)
    if not good or not (_DIGEST if digest else _TAG).fullmatch(wanted):
        msg = f"image {clean(image, 120)!r} must be a name with a tag or digest, as registries have them"
        raise Unread(msg)
    return Reference(host, name, wanted)


def look_up(image: str, *, arch: str = "amd64", patience_s: float = PATIENCE_S) -> ImageInfo:
    """Query the registry anonymously about `image`, within `patience_s` seconds.

    Raises
    ------
    Unread
        It is private or unknown, or there was no answer in time.
    """
    where = reference(image)
    found: list[ImageInfo | Unread] = []

    def work() -> None:
        try:
            with limits.within(patience_s), contextlib.closing(_Reader(where, patience_s)) as reader:
                found.append(reader.read(arch))
        except Unread as err:
            found.append(err)
        except Exception as err:  # noqa: BLE001 - whatever a foreign server causes, nothing is known
            _log.info("the registry %s: %s: %s", where.host, type(err).__name__, clean(str(err), 200))
            found.append(Unread(f"{where.host} gave no answer that can be read ({type(err).__name__})"))

    thread = threading.Thread(target=work, name="gpunb-registry", daemon=True)  # a name lookup has no bound
    thread.start()
    thread.join(patience_s + 1.0)
    one = found[0] if found else Unread(f"{where.host} did not answer within {patience_s:.0f} s")
    if isinstance(one, Unread):
        raise one
    return one


class _Reader:
    def __init__(self, where: Reference, patience_s: float) -> None:
        self.where = where
        self.token = ""
        self.client = httpx.Client(
            headers={"User-Agent": "gpunb", "Accept-Encoding": "gzip"},
            timeout=patience_s,
            follow_redirects=False,
            trust_env=not where.local,
            verify=certificates(trust_env=not where.local),
        )
        limits.hold_to_time(self.client)

    def close(self) -> None:
        self.client.close()

    def read(self, arch: str) -> ImageInfo:
        manifest = self._manifest(self.where.tag)
        listed = manifest.get("manifests")
        if isinstance(listed, list):
            manifest = self._manifest(self._of_platform(listed, arch))
        config, layers = manifest.get("config"), manifest.get("layers")
        digest = config.get("digest") if isinstance(config, dict) else None
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or not isinstance(layers, list):
            self._refuse("has a manifest of an unknown kind")
        inside = self._json(f"{self.where.base}/blobs/{digest}").get("config")
        sizes = [layer.get("size") for layer in layers if isinstance(layer, dict)]
        size = sum(one for one in sizes if isinstance(one, int) and 0 < one < 2**50)
        return _info(inside if isinstance(inside, dict) else {}, size / 1e9)

    def _of_platform(self, listed: list[Any], arch: str) -> str:
        for one in listed:
            platform = one.get("platform") if isinstance(one, dict) else None
            if isinstance(platform, dict) and platform.get("os") == "linux":
                digest = one.get("digest")
                if platform.get("architecture") == arch and isinstance(digest, str):
                    return digest
        return self._refuse(f"has none for linux/{arch}")

    def _manifest(self, wanted: str) -> dict[str, Any]:
        if not (_TAG.fullmatch(wanted) or _DIGEST.fullmatch(wanted)):
            self._refuse("has an invalid digest")
        return self._json(f"{self.where.base}/manifests/{wanted}", ", ".join((*_INDEXES, *_MANIFESTS)))

    def _json(self, url: str, accept: str = "*/*") -> dict[str, Any]:
        for _ in range(5):
            headers = {"Accept": accept}
            if self.token and urlsplit(url).netloc == self.where.host:  # other hosts never get it
                headers["Authorization"] = f"Bearer {self.token}"
            with self.client.stream("GET", url, headers=headers) as answer:
                if answer.status_code == 401 and not self.token:
                    self.token = self._anonymous(answer.headers.get("www-authenticate", ""))
                    continue
                if answer.status_code in _REDIRECTS:
                    url = self._safe(urljoin(url, answer.headers.get("location", "")))
                    continue
                if answer.status_code != 200:
                    self._refuse(_REASONS.get(answer.status_code, f"was answered {answer.status_code}"))
                return self._parsed(answer)
        return self._refuse("was sent on too often")

    def _parsed(self, answer: httpx.Response) -> dict[str, Any]:
        body = b"".join(limits.unpacked(answer, _MOST_BYTES))
        limits.check_shape(body)
        data = json.loads(body)
        if not isinstance(data, dict):
            self._refuse("was answered with something else")
        return data

    def _anonymous(self, asked: str) -> str:
        """Get an anonymous token from the server that the registry names."""
        if not asked.lower().startswith("bearer "):
            self._refuse(_REASONS[401])
        fields = dict(re.findall(r'(\w+)="([^"]*)"', asked))
        realm = self._safe(fields.get("realm", ""))
        scope = quote(f"repository:{self.where.name}:pull", safe="")
        service = quote(fields.get("service", ""), safe="")
        url = f"{realm}{'&' if '?' in realm else '?'}service={service}&scope={scope}"
        with self.client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
            if answer.status_code != 200:
                self._refuse(_REASONS[401])
            found = self._parsed(answer)
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]{1,16384}", token):
            self._refuse(_REASONS[401])
        return token

    def _safe(self, url: str) -> str:
        """Return whether `url` may be followed: elsewhere by TLS only, to this machine only from itself."""
        parts = urlsplit(url)
        local = _LOOPBACK.fullmatch(parts.netloc) is not None
        with contextlib.suppress(ValueError):  # a name, not a number
            if not local and not ip_address(parts.hostname or "").is_global:
                self._refuse("was sent on into a network of its own")
        if parts.scheme != ("http" if local else "https") or local != self.where.local or "@" in parts.netloc:
            self._refuse("was sent on to an address that is not followed")
        return url

    def _refuse(self, what: str) -> NoReturn:
        msg = f"{self.where.name}:{self.where.tag} at {self.where.host} {what}"
        raise Unread(msg)


_REASONS = {
    401: "is not shown without a login",
    403: "is not shown without a login",
    404: "is not there",
    429: "can't be read now: too many calls came from this address",
}


def _info(config: dict[str, Any], size_gb: float) -> ImageInfo:
    words: list[str] = []
    for name in ("Entrypoint", "Cmd"):
        listed = config.get(name)
        words += [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
    folder = config.get("WorkingDir")
    folder = folder if isinstance(folder, str) and folder.startswith("/") else ""
    text = "".join((*words, folder))
    if len(text) > _MOST_COMMAND or not text.isprintable():
        words = []  # longer than a person can review
    return ImageInfo(words=tuple(words), folder=folder if words else "", size_gb=size_gb)
