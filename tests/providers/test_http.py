from __future__ import annotations

import datetime as dt
import logging
import socket
import ssl
import sys
import threading
import time
from email.utils import format_datetime
from pathlib import Path

import certifi
import pytest
from pydantic import SecretStr

from gpunb.errors import (
    AuthFailed,
    BadAnswer,
    BadInput,
    NoFunds,
    OutcomeUnknown,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    SettingsError,
    Unavailable,
)
from gpunb.providers.edge.proxies import certificates
from gpunb.providers.edge.rate_limit import Pacer
from gpunb.providers.http import ApiClient, Failure, Rate, clean
from tests.support.rentals.scripted import hang_up, ok, serve

KEY = "k3y-that-must-not-show-0123456789"
GOOD = ok(b'{"good": true}')
BAD_GATEWAY = (502, {}, b"<html>nginx</html>")


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.slept.append(seconds)
            self.now += seconds


def client(url: str, time_: Time | None = None, **more: object) -> ApiClient:
    time_ = time_ or Time()
    more.setdefault("key", SecretStr(KEY))
    made = ApiClient(
        provider="acme", title="Acme", base_url=url, clock=time_.clock, sleep=time_.sleep, **more
    )
    _open.append(made)
    return made


_open: list[ApiClient] = []


@pytest.fixture(autouse=True)
def closed():
    yield
    while _open:
        _open.pop().close()


def test_a_read_is_sent_again_and_a_create_never():
    with serve(BAD_GATEWAY, BAD_GATEWAY, GOOD) as server:
        assert client(server.url).call("GET", "/things") == {"good": True}
        assert len(server.seen) == 3
    for answer in (BAD_GATEWAY, (500, {}, b"{}"), hang_up):
        with serve(answer, GOOD) as server:
            with pytest.raises(OutcomeUnknown) as caught:
                client(server.url).call("PUT", "/asks/1", json={"a": 1})
            assert caught.value.effect == "unknown"
            assert len(server.seen) == 1, "a create was repeated"
    with serve((429, {}, b"slow down"), GOOD) as server:
        with pytest.raises(RateLimited) as limited:
            client(server.url).call("PUT", "/asks/1", json={})
        assert limited.value.effect == "none"
        assert len(server.seen) == 1


def test_an_idempotent_call_is_repeated_and_an_unknown_outcome_is_not_forgotten():
    with serve(BAD_GATEWAY, GOOD) as server:
        assert client(server.url).call("DELETE", "/x", safe=True) == {"good": True}
    # the first try may have worked; that the later ones were refused does not tell
    refused = (429, {"Retry-After": "1"}, b"")
    with serve(BAD_GATEWAY, refused) as server, pytest.raises(OutcomeUnknown):
        client(server.url).call("DELETE", "/x", safe=True)


def test_nothing_sent_means_nothing_changed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unavailable) as caught:
        client(f"http://127.0.0.1:{port}").call("PUT", "/asks/1", json={})
    assert caught.value.effect == "none"


def test_retry_after_in_seconds_as_a_date_and_missing():
    time_ = Time()
    with serve((429, {"Retry-After": "7"}, b""), GOOD) as server:
        client(server.url, time_).call("GET", "/x")
        assert sum(time_.slept) == pytest.approx(7, abs=0.01)
    time_ = Time()
    when = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=20)
    with serve((429, {"Retry-After": format_datetime(when, usegmt=True)}, b""), GOOD) as server:
        client(server.url, time_).call("GET", "/x")
        assert 15 < sum(time_.slept) <= 20.01
    time_ = Time()
    with serve((429, {}, b""), GOOD) as server:
        client(server.url, time_).call("GET", "/x")
        assert time_.slept == [0.5]
    time_ = Time()
    with serve((429, {"Retry-After": "3600"}, b""), GOOD) as server:
        with pytest.raises(RateLimited) as caught:
            client(server.url, time_).call("GET", "/x")
        assert caught.value.retry_after == 3600
        assert time_.slept == []


def test_a_daily_quota_is_not_asked_for_again():
    def translate(failure: Failure) -> ProviderError | None:
        return QuotaExhausted("used up", provider="acme") if failure.word("error") == "quota" else None

    with serve((429, {}, b'{"error": "quota"}'), GOOD) as server:
        with pytest.raises(QuotaExhausted):
            client(server.url, translate=translate).call("GET", "/x")
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthFailed), (403, AuthFailed), (402, NoFunds), (404, ProviderError), (422, ProviderError)],
)
def test_statuses_without_words_of_their_own(status, error):
    with serve((status, {}, b'{"detail": "because"}')) as server:
        with pytest.raises(error, match="because") as caught:
            client(server.url).call("POST", "/x", json={})
        assert caught.value.effect == "none"
        assert f"{status} to POST /x" in caught.value.message


@pytest.mark.parametrize("body", [b"<html>", b"[1, 2]", b"", b'{"a": ', b"null"])
def test_another_shape_is_told_and_a_create_is_unknown_then(body):
    with serve(ok(body)) as server:
        with pytest.raises(BadAnswer):
            client(server.url).call("GET", "/x")
        with pytest.raises(OutcomeUnknown):
            client(server.url).call("POST", "/x", json={})


def test_texts_lists_and_nothing_can_be_expected_too():
    with serve(ok(b"[1]"), ok(b""), ok(b"plain")) as server:
        api = client(server.url)
        assert api.call("GET", "/x", expect=list) == [1]
        assert api.call("DELETE", "/x", expect=None) is None
        assert api.call("GET", "/x", expect=str) == "plain"


def test_an_endless_answer_is_cut():
    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(400):
            handler.wfile.write(b" " * 4096)

    with serve(drip) as server, pytest.raises(BadAnswer, match="larger than 65536"):
        client(server.url, max_bytes=65536).call("GET", "/x")


def test_the_total_time_ends_a_call_that_drips():
    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)

    with serve(drip) as server:
        api = ApiClient(provider="acme", title="Acme", base_url=server.url, attempts=1)
        with pytest.raises(Unavailable, match="did not answer"):
            api.call("GET", "/x", deadline=0.3)
        with pytest.raises(OutcomeUnknown):
            api.call("POST", "/x", json={}, deadline=0.3)
        api.close()


def test_the_key_is_in_one_header_and_nowhere_else(caplog):
    caplog.set_level(logging.DEBUG)
    echo = f'{{"msg": "bad key {KEY}", "n": 1}}'.encode()
    with serve((401, {}, echo), (500, {}, echo), ok(f"<{KEY}>".encode())) as server:
        api = client(server.url, attempts=1)
        shown = [repr(api), str(vars(api._client))]
        for _ in range(3):
            with pytest.raises(ProviderError) as caught:
                api.call("GET", "/x")
            shown += [str(caught.value), repr(caught.value), "\n".join(caught.value.lines())]
        assert all(seen.headers["authorization"] == f"Bearer {KEY}" for seen in server.seen)
        assert all(KEY not in seen.path for seen in server.seen)
    assert KEY not in "".join(shown) + caplog.text
    assert "***" in "".join(shown)


def test_other_headers_for_the_key_and_none_where_none_is_needed():
    with serve(GOOD) as server:
        client(server.url, header="X-API-KEY", scheme="").call("GET", "/x")
        client(server.url).call("GET", "/x", auth=False)
        assert server.seen[0].headers["x-api-key"] == KEY
        assert "authorization" not in server.seen[1].headers


def test_redirects_are_not_followed():
    # a PUT would come back as a GET, and the key could go elsewhere
    with serve(GOOD) as other, serve((302, {"Location": other.url + "/x"}, b"")) as server:
        with pytest.raises(ProviderError, match="redirects PUT /x"):
            client(server.url).call("PUT", "/x", json={})
        assert other.seen == []


@pytest.mark.parametrize(
    "url", ["http://example.com", "ftp://x", "nonsense", "https://u:p@x", "https://x?a=1"]
)
def test_addresses_that_would_leak_or_fail_are_refused(url):
    with pytest.raises(BadInput, match="base_url of acme") as caught:
        client(url)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("key", ["a b", "a\nX-Evil: 1", "schlüssel", "tab\there"])
def test_a_key_that_would_break_a_header_is_refused(key):
    with pytest.raises(BadInput, match="key of acme") as caught:
        client("https://example.com", key=SecretStr(key))
    assert key not in str(caught.value)


def test_certificates_are_checked(tmp_path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    pem = tmp_path / "self.pem"
    pem.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with serve(GOOD, context=context) as server:
        with pytest.raises(Unavailable) as caught:
            client(server.url, attempts=1).call("PUT", "/x", json={})
        assert caught.value.effect == "none"
        assert "certificates" in (caught.value.hint or "")
        assert server.seen == []


def test_calls_of_one_endpoint_are_kept_apart_across_threads():
    time_ = Time()
    rates = {"GET /instances/{id}/": 2.0, "POST /search": Rate(60.0, calls=3)}
    with serve(GOOD) as server:
        api = client(server.url, time_, rates=rates, max_wait_s=90.0)
        for number in range(3):
            api.call("GET", f"/instances/{number}/")  # ids share the endpoint's rate
        assert time_.slept == [2.0, 2.0]
        api.call("GET", "/instances/")  # another endpoint
        assert len(time_.slept) == 2
        for _ in range(4):  # three at once, the fourth when the first is a minute old
            api.call("POST", "/search", json={}, safe=True, effect=False)
        assert time_.slept[2:] == [60.0]
    pacer = Pacer({"GET /x": 1.0}, 1.0, lambda: 0.0)
    key, rate = pacer.rule("GET", "/x")
    waits: list[float] = []
    threads = [threading.Thread(target=lambda: waits.append(pacer.take(key, rate, 1e9))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [float(n) for n in range(20)], "two threads were given one slot"


def test_a_turn_that_is_too_far_away_is_not_waited_for():
    time_ = Time()
    with serve(GOOD) as server:
        api = client(server.url, time_, rates={"PUT /slow": 100.0}, max_wait_s=30.0)
        api.call("PUT", "/slow", json={})
        with pytest.raises(RateLimited) as caught:
            api.call("PUT", "/slow", json={})
        assert caught.value.retry_after == pytest.approx(100.0)
        assert len(server.seen) == 1


def test_results_elsewhere_are_fetched_without_the_key():
    with serve((404, {}, b"<Error/>"), ok(b"text")) as server:
        api = client(server.url)
        assert api.download(f"{server.url}/r") is None
        assert api.download(f"{server.url}/r") == "text"
        assert all("authorization" not in seen.headers for seen in server.seen)
        with pytest.raises(BadAnswer, match="not https"):
            api.download("http://example.com/r")
        with pytest.raises(BadAnswer, match="not https"):
            api.download("file:///etc/passwd")


def test_text_from_outside_is_one_clean_line():
    assert clean("\x1b]0;title\x07a\x1b[31mb\x1b[0m\r\nc\x00\u202ed") == "ab c d"
    assert clean("x" * 1_000_000, 10) == "x" * 9 + "…"
    assert clean("<b>&") == "<b>&"
    assert clean(12) == "12"


@pytest.mark.parametrize(
    ("variable", "value", "todo"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7891/", "httpx[socks]"),  # as GNOME sets it
        ("all_proxy", "socks4://me:s3cret@127.0.0.1:1", "httpx[socks]"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:7891", "httpx[socks]"),
        ("https_proxy", "ftp://127.0.0.1:3128", "unset https_proxy"),
        ("HTTP_PROXY", "http://127.0.0.1:not-a-port", "unset HTTP_PROXY"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "unset SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "/dev/null", "unset SSL_CERT_FILE"),
    ],
)
def test_an_environment_that_no_client_can_use_is_named_with_what_to_type(monkeypatch, variable, value, todo):
    # MoonshotAI/kimi-cli#404, unslothai/unsloth#6090, danielgatis/rembg#855
    if variable == "HTTPS_PROXY":
        monkeypatch.setitem(sys.modules, "socksio", None)  # as where the extra is not installed
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        client("https://acme.example")
    assert variable in caught.value.message
    assert todo in (caught.value.hint or "")
    assert "s3cret" not in str(caught.value.lines())
    client("http://127.0.0.1:9")  # where the variables do not count


def test_a_proxy_that_can_be_used_stays_in_use(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")  # nobody listens there, and no scheme is one, too
    with pytest.raises(Unavailable) as caught:
        client("https://acme.invalid").call("GET", "/things", deadline=2)
    assert "refused" in str(caught.value)


def test_certificates_are_read_once_for_all_clients_of_one_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    first = certificates()
    assert certificates() is first
    assert first.verify_mode is ssl.CERT_REQUIRED
    own = tmp_path / "ca.pem"
    own.write_bytes(Path(certifi.where()).read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    assert certificates() is not first
    assert certificates(trust_env=False) is certificates(trust_env=False) is not certificates()
