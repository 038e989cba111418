"""The HTTP client of all clouds: rate-limited, bounded, and no repeats of unsafe calls.

A provider makes one `ApiClient` with its address, key and table of rates, and
calls it from any thread. Three things are distinguished for each call: whether
it may be sent again (`safe`), whether it can change something there
(`effect`), and what its answer must be (`expect`).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from pydantic_core import from_json

from gpunb.errors import (
    BadAnswer,
    BadInput,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unavailable,
)
from gpunb.providers.edge.credentials import checked_key, checked_url
from gpunb.providers.edge.failure import UNKNOWN_BILL, Failure, retry_after
from gpunb.providers.edge.limits import (
    TooComplexError,
    TooLargeError,
    check_shape,
    hold_to_time,
    unpacked,
    within,
)
from gpunb.providers.edge.proxies import certificates, environment_error
from gpunb.providers.edge.rate_limit import Pacer, Rate
from gpunb.providers.edge.text import clean

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["ApiClient", "Failure", "Rate", "clean"]

# Cloudflare's own refusals ("error code: 1010"): by address, by client, by country
_GATE = re.compile(r"error code: ?1\d{3}\b|cf-error|Attention Required! \| Cloudflare", re.IGNORECASE)
_log = logging.getLogger("gpunb.providers.http")

# Raised before anything has left this machine.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
_LONGEST_RETRY_AFTER_S = 60.0


Translate = Callable[[Failure], ProviderError | BadInput | None]


class _KeyAuth(httpx.Auth):
    """Puts the key into one header of each request, and shows it nowhere else."""

    def __init__(self, key: SecretStr, header: str, scheme: str) -> None:
        self._key, self._header, self._scheme = key, header, scheme

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        value = self._key.get_secret_value()
        request.headers[self._header] = f"{self._scheme} {value}" if self._scheme else value
        yield request

    def __repr__(self) -> str:
        return f"<key in header {self._header}>"


@dataclass(frozen=True, slots=True)
class _Call:
    """The parameters of one call, the same for each of its attempts."""

    verb: str
    path: str
    json: Any
    params: Mapping[str, Any] | None
    expect: type | tuple[type, ...] | None
    effect: bool
    auth: bool
    until: float

    @property
    def where(self) -> str:
        return f"{self.verb} {self.path}"


class _TooSlowError(Exception):
    """The call's total time is over while the answer still comes in."""


class ApiClient:
    """The one HTTP client of a provider; safe to use from several threads.

    Parameters
    ----------
    provider, title
        The provider's name and how people write it.
    base_url
        Where the API is. ``https``, or ``http`` on the loopback interface only.
    key
        The account's key; None sends none.
    header, scheme
        Where the key goes: ``Authorization: Bearer KEY`` by default.
    rates
        ``{"GET /instances/{id}/": 2.0, "POST /search": Rate(60, calls=10)}``:
        seconds between two calls, or calls in some seconds, known ahead.
    translate
        Turns a `Failure` into the error that this cloud means by it; None
        leaves it to `Failure.error`.
    deadline_s
        Seconds for a call in total: waiting for its turn, retries, and answer.
    max_wait_s
        Seconds that a call waits for its turn at most; then `RateLimited`.
    max_bytes
        Bound on the size of an answer, after decompression.
    pace
        Factor on all rates; a simulated cloud whose clock runs faster has less than 1.
    transport, clock, sleep
        For tests and in-process clouds.

    Raises
    ------
    BadInput
        The address or the key breaks its rule.
    SettingsError
        The environment's proxies or certificates can't be used; names the variable.
    """

    def __init__(
        self,
        *,
        provider: str,
        title: str,
        base_url: str,
        key: SecretStr | None = None,
        header: str = "Authorization",
        scheme: str = "Bearer",
        rates: Mapping[str, Rate | float] | None = None,
        translate: Translate | None = None,
        connect_s: float = 10.0,
        read_s: float = 60.0,
        deadline_s: float = 90.0,
        attempts: int = 3,
        max_wait_s: float = 30.0,
        max_bytes: int = 32 * 1024 * 1024,
        pace: float = 1.0,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.provider, self.title = provider, title
        self.base_url, loopback = checked_url(base_url, provider)
        self._secret = checked_key(key, provider)
        self._translate = translate
        self._connect_s, self._read_s, self._deadline_s = connect_s, read_s, deadline_s
        self._attempts, self._max_wait_s, self._max_bytes = attempts, max_wait_s, max_bytes
        self._clock, self._sleep = clock, sleep
        self._pacer = Pacer(rates or {}, pace, clock)
        self._pace = pace
        self._auth = _KeyAuth(key, header, scheme) if key is not None and self._secret else None
        try:
            self._client = httpx.Client(
                headers={"User-Agent": "gpunb", "Accept": "application/json", "Accept-Encoding": "gzip"},
                # a redirected PUT would arrive as a GET, and the key somewhere else
                follow_redirects=False,
                trust_env=not loopback,
                verify=certificates(trust_env=not loopback),
                transport=transport,
                limits=httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=4.0),
            )
        except Exception as err:
            raise environment_error(title, err) from err
        hold_to_time(self._client)

    def __repr__(self) -> str:
        return f"<ApiClient {self.provider} {self.base_url} with{'' if self._secret else 'out'} a key>"

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        safe: bool | None = None,
        effect: bool | None = None,
        min_interval: float | None = None,
        deadline: float | None = None,
        expect: type | tuple[type, ...] | None = dict,
        auth: bool = True,
    ) -> Any:
        """Send one request, and again only if it is safe; return the answer.

        Parameters
        ----------
        method, path
            The verb, and the path from the base URL on.
        json, params
            The body, and the query's parameters.
        safe
            Whether it may be sent again after a failure. GET is; others only if
            said so. What rents something never is.
        effect
            Whether it can change anything there; all but GET and HEAD, unless
            said otherwise. Decides what a lost answer means.
        min_interval
            Seconds since the endpoint's last call, instead of the table's.
        deadline
            Seconds in total, instead of the client's.
        expect
            What the JSON answer must be an instance of; ``str`` for plain text,
            None for anything, also nothing.
        auth
            False leaves the key out, for the few calls that need none.

        Raises
        ------
        RateLimited, QuotaExhausted, AuthFailed, NoFunds, ProviderError
            As the cloud answered (`Failure`).
        Unavailable
            Nothing was sent, or a call without effect got no good answer.
        OutcomeUnknown
            A call with an effect was sent and its answer is lost or unreadable.
        BadAnswer
            A call without effect has an answer of another shape.
        """
        verb = method.upper()
        has_effect = verb not in ("GET", "HEAD") if effect is None else effect
        tries = self._attempts if (not has_effect if safe is None else safe) else 1
        until = self._clock() + (self._deadline_s if deadline is None else deadline)
        call = _Call(verb, path, json, params, expect, has_effect, auth, until)
        key, rate = self._pacer.rule(verb, path)
        if min_interval is not None:
            rate = Rate(min_interval * self._pace)
        unsure: OutcomeUnknown | None = None
        attempt = 0
        while True:
            attempt += 1
            try:
                self._turn(key, rate, until)
            except RateLimited as err:
                raise (unsure or err) from None
            try:
                return self._once(call)
            except (RateLimited, Unavailable, OutcomeUnknown) as err:
                if isinstance(err, OutcomeUnknown):
                    unsure = err
                pause = self._pause(err, attempt)
                if isinstance(err, RateLimited) and err.retry_after is not None:
                    self._pacer.block(key, min(err.retry_after, _LONGEST_RETRY_AFTER_S) * self._pace)
                if attempt >= tries or pause is None or self._clock() + pause >= until:
                    # an earlier attempt may have worked, whatever became of the last one
                    raise (unsure or err) from err.__cause__
                _log.info("%s %s %s: %s; again in %.1f s", self.provider, verb, path, err.message, pause)
                self._sleep(pause)

    def download(self, url: str, *, deadline: float = 20.0, max_bytes: int = 8 * 1024 * 1024) -> str | None:
        """Download text from a URL that the cloud gave us, without the key; None if it is not there (yet).

        Only ``https``, or the cloud's own address.
        """
        own = urlsplit(self.base_url)
        given = urlsplit(url)
        if given.scheme != "https" and (given.scheme, given.netloc) != (own.scheme, own.netloc):
            msg = f"{self.title} gave a result address that is not https: {clean(url, 120)}"
            raise BadAnswer(msg, provider=self.provider)
        until = self._clock() + deadline
        request = self._client.build_request("GET", url, timeout=self._timeout(until))
        try:
            with within(max(until - self._clock(), 0.001)):
                response = self._client.send(request, stream=True, auth=None)
                try:
                    body = self._read(response, until, max_bytes)
                finally:
                    response.close()
        except (httpx.HTTPError, _TooSlowError, ValueError) as err:
            msg = f"{self.title}'s result could not be fetched: {self._words(err)}"
            raise Unavailable(msg, provider=self.provider) from err
        except TooLargeError:
            msg = f"{self.title}'s result is larger than {max_bytes} bytes"
            raise BadAnswer(msg, provider=self.provider) from None
        return body.decode("utf-8", "replace") if response.status_code == 200 else None

    # one attempt

    def _once(self, call: _Call) -> Any:
        request = self._client.build_request(
            call.verb,
            self.base_url + call.path,
            json=call.json,
            params=call.params,
            timeout=self._timeout(call.until),
        )
        started = self._clock()
        try:
            with within(max(call.until - started, 0.001)):
                response = self._client.send(request, stream=True, auth=self._auth if call.auth else None)
                try:
                    body = self._read(response, call.until, self._max_bytes)
                finally:
                    response.close()
        except _NOT_SENT as err:
            msg = f"{self.title} can't be reached for {call.where}: {self._words(err)}"
            hint = "check this machine's clock and certificates" if "CERTIFICATE" in str(err) else None
            raise Unavailable(msg, provider=self.provider, hint=hint) from err
        except (httpx.TimeoutException, _TooSlowError) as err:
            took = self._clock() - started
            msg = f"{self.title} did not answer {call.where} within {took:.0f} s"
            raise self._lost(call, msg, Unavailable) from err
        except TooLargeError as err:
            msg = f"{self.title}'s answer to {call.where} is larger than {self._max_bytes} bytes"
            raise self._lost(call, msg, BadAnswer) from err
        except ValueError as err:
            msg = f"{self.title}'s answer to {call.where} can't be read: {self._words(err)}"
            raise self._lost(call, msg, BadAnswer) from err
        except httpx.HTTPError as err:
            msg = f"the connection to {self.title} broke in {call.where}: {self._words(err)}"
            raise self._lost(call, msg, Unavailable) from err
        took = self._clock() - started
        _log.debug("%s %s %d in %.2f s", self.provider, call.where, response.status_code, took)
        if not 200 <= response.status_code < 300:
            raise self._failure(call, response, body)
        return self._answer(call, body)

    def _answer(self, call: _Call, body: bytes) -> Any:
        expect = call.expect
        if expect is str:
            return body.decode("utf-8", "replace")
        if expect is None and not body.strip():
            return None
        try:
            check_shape(body)
            data = from_json(body)
        except TooComplexError as err:
            msg = f"{self.title}'s answer to {call.where} has {err}"
            raise self._lost(call, msg, BadAnswer) from err
        except ValueError as err:
            msg = f"{self.title}'s answer to {call.where} is not JSON: {self._show(body)}"
            raise self._lost(call, msg, BadAnswer) from err
        if expect is not None and not isinstance(data, expect):
            wanted = " or ".join(t.__name__ for t in (expect if isinstance(expect, tuple) else (expect,)))
            got = f"a {type(data).__name__}, not a {wanted}"
            msg = f"{self.title}'s answer to {call.where} is {got}: {self._show(body)}"
            raise self._lost(call, msg, BadAnswer)
        return data

    def _failure(self, call: _Call, response: httpx.Response, body: bytes) -> ProviderError | BadInput:
        if 300 <= response.status_code < 400:
            where = clean(response.headers.get("location", "nowhere"), 200)
            msg = f"{self.title} redirects {call.where} to {where}; gpunb does not follow"
            return ProviderError(msg, provider=self.provider, hint=f"check the base_url of {self.provider}")
        try:
            check_shape(body)
            data = from_json(body) if body.strip() else None
        except ValueError:
            data = None
        failure = Failure(
            provider=self.provider,
            title=self.title,
            method=call.verb,
            path=call.path,
            status=response.status_code,
            text=self._show(body, 500),
            data=self._hide(data),
            effect=call.effect,
            retry_after=retry_after(response.headers.get("retry-after")),
            headers=response.headers,
        )
        if failure.status in (403, 503) and _GATE.search(failure.text):
            # the provider itself never saw the call, so its words are not looked for
            msg = f"{failure.message()}: a firewall in front of {self.title} refuses this network or client"
            hint = "try from another network, without a VPN or proxy; the key is not at fault"
            return Unavailable(msg, provider=self.provider, hint=hint)
        return (self._translate(failure) if self._translate else None) or failure.error()

    def _read(self, response: httpx.Response, until: float, bound: int) -> bytes:
        parts: list[bytes] = []
        for part in unpacked(response, bound):
            if self._clock() > until:
                raise _TooSlowError
            parts.append(part)
        return b"".join(parts)

    def _turn(self, key: str, rate: Rate | None, until: float) -> None:
        wait = self._pacer.take(key, rate, min(self._max_wait_s, max(until - self._clock(), 0.0)))
        if wait < 0:
            msg = f"{self.title} takes {key} again in {-wait:.0f} s only"
            raise RateLimited(msg, provider=self.provider, retry_after=-wait)
        if wait > 0:
            self._sleep(wait)

    def _pause(self, err: ProviderError, attempt: int) -> float | None:
        if err.retry_after is not None:
            return err.retry_after * self._pace if err.retry_after <= _LONGEST_RETRY_AFTER_S else None
        return float(min(0.5 * 2 ** (attempt - 1), 8.0)) * self._pace

    def _timeout(self, until: float) -> httpx.Timeout:
        left = max(until - self._clock(), 0.001)
        return httpx.Timeout(min(self._read_s, left), connect=min(self._connect_s, left))

    def _lost(self, call: _Call, msg: str, otherwise: type[ProviderError]) -> ProviderError:
        """Return the error of a lost answer: an unknown outcome if the call has an effect, else a failure."""
        if call.effect:
            return OutcomeUnknown(msg, provider=self.provider, bill=UNKNOWN_BILL)
        return otherwise(msg, provider=self.provider)

    def _show(self, body: bytes, limit: int = 200) -> str:
        text = body[: 16 * limit].decode("utf-8", "replace")
        return clean(text.replace(self._secret, "***") if self._secret else text, limit)

    def _words(self, err: BaseException) -> str:
        text = str(err) or type(err).__name__
        return clean(text.replace(self._secret, "***") if self._secret else text)

    def _hide(self, data: Any) -> Any:
        """Return the parsed body without the key, in case the cloud echoes it."""
        if not self._secret or not isinstance(data, dict):
            return data
        return {
            k: v.replace(self._secret, "***") if isinstance(v, str) else self._hide(v)
            for k, v in data.items()
        }
