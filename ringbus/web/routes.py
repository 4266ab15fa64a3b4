"""The routes. Views parse the request, call, and return; the work is in the modules around."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    make_response,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue

from ringbus import settings, sse
from ringbus.agents import agents as list_agents
from ringbus.choice import Choice
from ringbus.events import KINDS, Position, parse_position
from ringbus.web import feeds, health, metrics
from ringbus.web.clients import Client
from ringbus.web.state import web_state

DEFAULT_LAST = 2_000
MAX_PAGE = 5_000
MAX_LAST = 20_000  # they are held in memory at once
MAX_TEXT = 1_000
MAX_FORM_BYTES = 4_096
MAX_SHARED = 32  # so that the address stays below what servers take

_TAG = re.compile(r"[0-9]{1,9}")
_NEWEST = re.compile(r"last-([1-9][0-9]{0,8})")

_OPEN_TO_ALL = {"ringbus.static", "ringbus.login", "ringbus.healthz", "ringbus.readyz"}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# `no-transform` and the second header keep proxies from gathering the stream.
_STREAM_HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",
}


def build_blueprint() -> Blueprint:
    """A new blueprint with every route; one is needed for each application."""
    blueprint = Blueprint(
        "ringbus",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/assets",
    )
    blueprint.before_request(check_request)
    blueprint.after_request(add_headers)
    for rule, view in _ROUTES.items():
        methods = ["GET", "POST"] if view is login else ["GET"]
        blueprint.add_url_rule(rule, view.__name__, view, methods=methods)
    return blueprint


def check_request() -> ResponseReturnValue | None:
    """Host, Origin and token, before any view."""
    needs_token = request.endpoint not in _OPEN_TO_ALL
    refusal = web_state().guard.refusal(request, needs_token=needs_token)
    return None if refusal is None else refuse(refusal.status, refusal.message)


def add_headers(response: Response) -> Response:
    """What keeps other sites out of the pages, and the pages out of caches."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "ringbus.static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def dashboard() -> ResponseReturnValue:
    return render_template("ringbus/dashboard.html", agents=list_agents(web_state().state))


def agent(agent: str) -> ResponseReturnValue:
    # A page may be opened before its agent's first event; it waits.
    check_agent(agent)
    return render_template("ringbus/agent.html", agent=agent, last=DEFAULT_LAST)


def agent_events(agent: str) -> ResponseReturnValue:
    check_agent(agent)
    after = start_position()
    start = feeds.Start(
        after,
        # A position that is found nowhere starts over: then this says where, too.
        last=min(number("last", DEFAULT_LAST), MAX_LAST),
        live=after is None and request.args.get("live") == "1",
        kinds=kinds(),
    )
    return stream(feeds.agent_feed(web_state(), agent, start, Client(request.environ)))


def dashboard_events() -> ResponseReturnValue:
    return stream(feeds.dashboard_feed(web_state(), Client(request.environ)))


def shared_events() -> ResponseReturnValue:
    """Several streams on one connection: a browser has six for all its tabs.

    Each `follow` is `TAG,AGENT,WHERE` or `TAG,AGENT,WHERE,KIND.KIND`, where WHERE is a position,
    `last-N` or `live`; `TAG` alone is all agents. The id of each frame is `TAG:POSITION`.
    """
    asked = request.args.getlist("follow")
    if not 0 < len(asked) <= MAX_SHARED or request.headers.get("Last-Event-ID"):
        message = f"Ask anew, for 1 to {MAX_SHARED} streams: this one has no position of its own."
        return refuse(400, message)
    wanted = dict(map(shared_start, asked))
    return stream(feeds.shared_feed(web_state(), wanted, Client(request.environ)))


def agent_history(agent: str) -> ResponseReturnValue:
    check_agent(agent)
    if agent not in list_agents(web_state().state):
        return refuse(404, f"There is no agent {agent!r}: nothing was emitted under that name.")
    asked = feeds.Page(
        min(number("limit", DEFAULT_LAST), MAX_PAGE),
        position("before"),
        position("after"),
        Choice(kinds(), searched_text()),
    )
    try:
        page = feeds.history_page(web_state(), agent, asked)
    except KeyError as error:
        return refuse(404, f"Agent {agent!r} has no position {error.args[0]}.")
    return Response(page, mimetype="application/json")


def healthz() -> ResponseReturnValue:
    return as_json({"status": "ok"})


def readyz() -> ResponseReturnValue:
    web = web_state()
    report = health.readiness(web.state, in_full=web.guard.trusts(request))
    return as_json(report, status=200 if report.ready else 503)


def metrics_text() -> ResponseReturnValue:
    text = metrics.exposition(web_state().state, web_state().streams)
    return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")


def login() -> ResponseReturnValue:
    """Turns the login link, or the token in the form, into a cookie."""
    guard = web_state().guard
    request.max_content_length = MAX_FORM_BYTES
    if request.method == "POST":
        if guard.opens_with(request.form.get("token", "")):
            return signed_in()
        return refuse(401, "That is not the token of this server.")
    secret = request.args.get("once")
    if secret is None:
        return sign_in_page(200, "This server asks for a token.")
    # A browser that fetches ahead, or a HEAD, shall not use up the link.
    is_ahead = request.method == "HEAD" or "prefetch" in request.headers.get("Sec-Purpose", "")
    if not is_ahead and guard.opens_once(secret):
        return signed_in()
    return refuse(401, "This login link is not valid any more: it lets one browser in, once.")


def signed_in() -> Response:
    """A page that goes on by itself.

    After a redirect from another site's link the browser would not send a SameSite=Strict cookie.
    """
    response = make_response(render_template("ringbus/login.html"))
    web_state().guard.sign_in(request, response, path=url_for("ringbus.dashboard"))
    return response


_ROUTES: dict[str, Callable[..., ResponseReturnValue]] = {
    "/": dashboard,
    "/events": dashboard_events,
    "/follow": shared_events,
    "/agents/<agent>": agent,
    "/agents/<agent>/events": agent_events,
    "/agents/<agent>/history": agent_history,
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics_text,
    "/login": login,
}


# --- parsing and answering ----------------------------------------------------------------


def check_agent(name: str) -> None:
    try:
        settings.check_agent_name(name)
    except ValueError as error:
        abort(refuse(404, f"There is no such agent: {error}."))


def start_position() -> Position | None:
    """Where the stream goes on: the header of a browser that reconnects, else the query."""
    try:
        resumed = sse.last_event_id(request.headers.get("Last-Event-ID"))
    except ValueError as error:
        abort(refuse(400, f"Last-Event-ID is {error}."))
    return resumed or position("after")


def position(name: str) -> Position | None:
    text = request.args.get(name)
    if not text:
        return None
    try:
        return parse_position(text)
    except ValueError as error:
        abort(refuse(400, f"The parameter {name} is {error}."))


def shared_start(text: str) -> tuple[str, tuple[str, feeds.Start] | None]:
    """Tag, and agent with where to begin, of one `follow`."""
    tag, _, rest = text.partition(",")
    name, _, rest = rest.partition(",")
    if not _TAG.fullmatch(tag):
        abort(refuse(400, f"The parameter follow is {text[:100]!r}; it begins with a number."))
    if not name and not rest:
        return tag, None
    check_agent(name)
    where, _, some = rest.partition(",")
    return tag, (name, _start(where, checked_kinds("follow", some.replace(".", ","))))


def _start(where: str, kinds: frozenset[str]) -> feeds.Start:
    if where == "live":
        return feeds.Start(last=DEFAULT_LAST, live=True, kinds=kinds)
    if newest := _NEWEST.fullmatch(where):
        return feeds.Start(last=min(int(newest[1]), MAX_LAST), kinds=kinds)
    try:
        return feeds.Start(parse_position(where), last=DEFAULT_LAST, kinds=kinds)
    except ValueError as error:
        abort(refuse(400, f"The parameter follow is {error}, last-N or live."))


def kinds() -> frozenset[str]:
    """The kinds of `?kind=note,turn_end`; none: all."""
    return checked_kinds("kind", request.args.get("kind", ""))


def checked_kinds(name: str, text: str) -> frozenset[str]:
    named = frozenset(text.split(",")) if text else frozenset()
    if not named <= frozenset(KINDS):
        known = ", ".join(KINDS)
        abort(refuse(400, f"The parameter {name} has {text[:100]!r}; kinds are {known}."))
    return named


def searched_text() -> str | None:
    text = request.args.get("text") or None
    if text is not None and len(text) > MAX_TEXT:
        abort(refuse(400, f"The parameter text is longer than {MAX_TEXT} characters."))
    return text


def number(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
        abort(
            refuse(400, f"The parameter {name} is {text[:50]!r}; it is a whole number from 1 on.")
        )
    return int(text)


def stream(body: feeds.Feed) -> Response:
    return Response(body, mimetype="text/event-stream", headers=_STREAM_HEADERS)


def as_json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status=status, mimetype="application/json")


def refuse(status: int, message: str) -> Response:
    """The message as a page for a browser, as JSON for everyone else."""
    wanted = request.accept_mimetypes.best_match(["application/json", "text/html"])
    if wanted == "text/html" and status == 401:
        response = sign_in_page(status, message)
    elif wanted == "text/html":
        page = render_template("ringbus/error.html", status=status, message=message)
        response = current_app.make_response((page, status))
    else:
        response = as_json({"error": message}, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="ringbus"'
    return response


def sign_in_page(status: int, message: str) -> Response:
    """A form for the token."""
    page = render_template("ringbus/sign-in.html", message=message)
    response = current_app.make_response((page, status))
    # With "no-referrer" the browser would send the form with the origin "null".
    response.headers["Referrer-Policy"] = "same-origin"
    return response
