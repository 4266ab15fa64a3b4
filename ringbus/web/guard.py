"""Who may ask: the Host and Origin checks and the token.

A page on this machine can be reached by every web site the user visits, through the user's own
browser. So a request must name a host that is ours (a foreign name that resolves to this machine
is how DNS rebinding works) and must not come from another site. With a token set, it must show
that too: as `Authorization: Bearer`, or as the cookie that the login link sets.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: HTTP status and a message that holds the remedy."""

    status: int
    message: str


class Guard:
    """Decides for each request; holds no state of its own. Safe from any thread."""

    def __init__(self, *, allow_hosts: Iterable[str] = (), token: str | None = None) -> None:
        self._allowed = frozenset(_name_of(host) for host in allow_hosts) | _LOOPBACK
        self._token = token or None

    def refusal(self, request: Request, *, needs_token: bool) -> Refusal | None:
        """None if the request may go on."""
        return (
            self._check_host(request)
            or self._check_origin(request)
            or (self._check_token(request) if needs_token else None)
        )

    def opens_with(self, token: str) -> bool:
        """Whether this is the token; always false where none is set."""
        return self._token is not None and _same(token, self._token)

    def sign_in(self, request: Request, response: Response) -> None:
        """Lets the browser in from now on. The cookie holds a digest, never the token itself."""
        response.set_cookie(
            _cookie_name(request),
            self._cookie_value(),
            httponly=True,
            samesite="Strict",
            secure=request.is_secure,
            max_age=30 * 24 * 3600,
        )

    def _check_host(self, request: Request) -> Refusal | None:
        host = request.environ.get("HTTP_HOST", "")
        if self._knows(host):
            return None
        return Refusal(
            403,
            f"This server does not answer for the host {_name_of(host)[:100]!r}. "
            "If that name is meant to reach it, start it with --allow-host and the name.",
        )

    def _check_origin(self, request: Request) -> Refusal | None:
        origin = request.headers.get("Origin")
        fetch_site = request.headers.get("Sec-Fetch-Site")
        is_foreign = origin is not None and not self._knows(urlsplit(origin).netloc)
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

    def _check_token(self, request: Request) -> Refusal | None:
        if self._token is None:
            return None
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.opens_with(shown.strip()):
            return None
        if _same(request.cookies.get(_cookie_name(request), ""), self._cookie_value()):
            return None
        return Refusal(
            401,
            "This server asks for a token. Open the login link it printed when it started, "
            "or send the token as Authorization: Bearer.",
        )

    def _knows(self, host: str) -> bool:
        name = _name_of(host)
        if name in self._allowed or "*" in self._allowed:
            return True
        # Rebinding needs a name: a bare address is what the browser really connected to. It is
        # enough where a token is asked for besides.
        return self._token is not None and _is_address(name)

    def _cookie_value(self) -> str:
        key = (self._token or "").encode()
        return hmac.new(key, b"ringbus web session", hashlib.sha256).hexdigest()


def _name_of(host: str) -> str:
    if host == "*":
        return host
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _cookie_name(request: Request) -> str:
    # Cookies do not know ports: two servers on one machine would sign each other's users out.
    port = request.environ.get("HTTP_HOST", "").rpartition(":")[2]
    return f"ringbus_{port}" if port.isdecimal() else "ringbus"
