"""The web interface: a Flask extension, and an application that is nothing but it.

    app = ringbus.web.create_app({"RINGBUS_STATE": "/var/lib/ringbus"})

    RingbusWeb(my_app, url_prefix="/agents-live")       # or RingbusWeb().init_app(my_app)

Configuration, all optional: `RINGBUS_STATE` (folder of the histories), `RINGBUS_ALLOW_HOSTS`
(names besides loopback by which the pages may be asked for; "*" for any), `RINGBUS_TOKEN`
(a secret every request must show), `RINGBUS_MAX_STREAMS` (event streams open at a time),
`RINGBUS_STYLESHEET` (address of a style sheet that comes after ours).

Run it with threads, more of them than `RINGBUS_MAX_STREAMS`; an open page holds one. Servers that
run every request in one event loop (gevent, eventlet, ASGI adapters) do not work: waiting for the
ring blocks the thread. `ringbus.web.server` has one that is set up right; README.md beside this
file says how to set up others, and proxies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from ringbus import settings
from ringbus.web.guard import Guard, host_names
from ringbus.web.overview import Overview
from ringbus.web.routes import build_blueprint
from ringbus.web.state import WebState
from ringbus.web.streams import DEFAULT_MAX_STREAMS, Streams

__all__ = ["RingbusWeb", "create_app"]


class RingbusWeb:
    """Adds the pages of all agents to a Flask application; keeps nothing of it."""

    def __init__(self, app: Flask | None = None, *, url_prefix: str | None = None) -> None:
        if app is not None:
            self.init_app(app, url_prefix=url_prefix)

    def init_app(self, app: Flask, *, url_prefix: str | None = None) -> None:
        """Registers the routes; what they share is `app.extensions["ringbus"]`, a `WebState`.

        Opens nothing, so it may run before a fork.
        """
        state = settings.state_dir(app.config.get("RINGBUS_STATE"))
        app.config.setdefault("RINGBUS_STYLESHEET", None)
        app.extensions["ringbus"] = WebState(
            state=state,
            guard=Guard(
                allow_hosts=host_names(app.config.get("RINGBUS_ALLOW_HOSTS", ())),
                token=app.config.get("RINGBUS_TOKEN", settings.token()),
                link=app.config.get("RINGBUS_LOGIN_LINK"),
            ),
            streams=Streams(int(app.config.get("RINGBUS_MAX_STREAMS", DEFAULT_MAX_STREAMS))),
            overview=Overview(state),
        )
        app.register_blueprint(build_blueprint(), url_prefix=url_prefix)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """A Flask application with these pages alone."""
    app = Flask("ringbus.web", static_folder=None)
    app.config.from_mapping(config)
    RingbusWeb(app)
    return app
