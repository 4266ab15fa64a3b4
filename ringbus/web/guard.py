"""Who may ask: the Host and Origin checks, the token, and the login link.

A page on this machine can be reached by every web site the user visits, through the user's own
browser. So a request must name a host that is ours (a foreign name that resolves to this machine
is how DNS rebinding works) and must not come from another site. With a token set, it must show
that too: as `Authorization: Bearer`, or as the cookie that the login link or the token sets.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import mmap
import re
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from werkzeug.wrappers import Request, Response

from ringbus import settings

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@?#\\\[\]]+))(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: HTTP status and a message that holds the remedy."""

    status: int
    message: str


class LoginLink:
    """A secret that lets one browser in, once.

    Made before a fork it is one for all workers, and stays used when one is started anew.
    """

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(24)
        self._used = mmap.mmap(-1, 1)
        self._lock = threading.Lock()

    def use(self, shown: str) -> bool:
        """Whether this is the secret, shown for the first time."""
        if not _same(shown, self.secret):
            return False
        with self._lock:
            is_first = self._used[0] == 0
            self._used[0] = 1
        return is_first


class Guard:
    """Decides for each request; holds no state but the link's. Safe from any thread."""

    def __init__(
        self,
        *,
        allow_hosts: Iterable[str] = (),
        token: str | None = None,
        link: LoginLink | None = None,
    ) -> None:
        names = frozenset(allow_hosts)
        self._named = frozenset(map(_name_of, names - {"*"}))
        self._any_host = "*" in names
        self._token = settings.check_token(token)
        self._link = link

    def refusal(self, request: Request, *, needs_token: bool) -> Refusal | None:
        """None if the request may go on."""
        return (
            self._check_host(request)
            or self._check_origin(request)
            or (self._check_token(request) if needs_token else None)
        )

    def trusts(self, request: Request) -> bool:
        """Whether the request shows the token, or none is asked for."""
        return self._check_token(request) is None

    def opens_with(self, token: str) -> bool:
        """Whether this is the token; always false where none is set."""
        return self._token is not None and _same(token, self._token)

    def opens_once(self, secret: str) -> bool:
        """Whether this is the login link's secret, shown for the first time."""
        return self._link is not None and self._link.use(secret)

    def sign_in(self, request: Request, response: Response, path: str) -> None:
        """Lets the browser in from now on. The cookie holds a digest, never the token itself."""
        response.set_cookie(
            _cookie_name(request),
            self._cookie_value(),
            path=path,
            httponly=True,
            samesite="Strict",
            # A proxy may have taken the TLS off. Who lies about that harms his own cookie alone.
            secure=request.is_secure or request.headers.get("X-Forwarded-Proto") == "https",
            max_age=30 * 24 * 3600,
        )

    def _check_host(self, request: Request) -> Refusal | None:
        host = request.environ.get("HTTP_HOST", "")
        if self._knows(host):
            return None
        return Refusal(
            403,
            f"This server does not answer for the host {host[:100]!r}. "
            "If that name is meant to reach it, start it with --allow-host and the name.",
        )

    def _check_origin(self, request: Request) -> Refusal | None:
        origin = request.headers.get("Origin")
        fetch_site = request.headers.get("Sec-Fetch-Site")
        is_foreign = origin is not None and not self._is_own(origin, request)
        # A link from elsewhere may open a page; an image or a frame from elsewhere may not.
        is_embedded = (
            fetch_site == "cross-site" and request.headers.get("Sec-Fetch-Mode") != "navigate"
        )
        if not is_foreign and not is_embedded:
            return None
        return Refusal(
            403,
            f"Requests from other sites ({(origin or 'cross-site')[:100]}) are not answered. "
            "If that site is yours, start the server with --allow-host and its name.",
        )

    def _is_own(self, origin: str, request: Request) -> bool:
        """What was asked for by that very name and port, or a name of which we were told."""
        scheme, _, place = origin.partition("://")
        if scheme not in {"http", "https"}:
            return False
        is_same = place.lower() == request.environ.get("HTTP_HOST", "").lower()
        return is_same or _name_of(place) in self._named

    def _check_token(self, request: Request) -> Refusal | None:
        if self._token is None:
            return self._check_nearness(request)
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.opens_with(shown.strip()):
            return None
        if _same(request.cookies.get(_cookie_name(request), ""), self._cookie_value()):
            return None
        return Refusal(
            401,
            "This server asks for a token. Open the login link it printed when it started, "
            "enter the token, or send it as Authorization: Bearer.",
        )

    def _check_nearness(self, request: Request) -> Refusal | None:
        # The server may be somebody else's, who let it listen for other machines: they write into
        # Host what they like.
        if _is_near(request.environ.get("REMOTE_ADDR", "")):
            return None
        return Refusal(
            403,
            "Other machines are answered only where a token is asked for: set RINGBUS_TOKEN to a "
            "long secret.",
        )

    def _knows(self, host: str) -> bool:
        name = _name_of(host)
        if name is None:
            return False
        if name in self._named or name in _LOOPBACK or self._any_host:
            return True
        # Rebinding needs a name: a bare address is what the browser really connected to. It is
        # enough where a token is asked for besides.
        return self._token is not None and _is_address(name)

    def _cookie_value(self) -> str:
        key = (self._token or "").encode()
        return hmac.new(key, b"ringbus web session", hashlib.sha256).hexdigest()


def host_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """The names of a setting: a list, or text with commas between them.

    Raises `ValueError` for what no Host header can be.
    """
    given = value.split(",") if isinstance(value, str) else value
    names = tuple(filter(None, (name.strip() for name in given)))
    for name in names:
        if name != "*" and _name_of(name) is None:
            raise ValueError(f"not a host: {name[:100]!r}; write a name alone, as box.lan")
    return names


def _name_of(host: str) -> str | None:
    """The name in `NAME`, `NAME:PORT` or `[ADDRESS]:PORT`; None if it is nothing of that."""
    found = _HOST.fullmatch(host)
    return None if found is None else (found[1] or found[2]).lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_near(place: str) -> bool:
    """Whether a connection from there comes from this machine; one without address does."""
    try:
        address = ipaddress.ip_address(place.partition("%")[0])
    except ValueError:
        return not place
    mapped = address.ipv4_mapped if address.version == 6 else None
    return (mapped or address).is_loopback


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())


def _cookie_name(request: Request) -> str:
    # Cookies do not know ports: two servers on one machine would sign each other's users out.
    port = request.environ.get("HTTP_HOST", "").rpartition(":")[2]
    return f"ringbus_{port}" if port.isdecimal() else "ringbus"
