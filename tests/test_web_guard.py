"""Who may ask the web interface: hosts, origins, the token."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from ringbus.web import RingbusWeb, create_app
from ringbus.web.guard import LoginLink


def test_a_foreign_host_is_refused_with_the_remedy(client: FlaskClient) -> None:
    """A name that resolves to this machine is not enough."""
    response = client.get("/", headers={"Host": "evil.example:8765"})
    assert response.status_code == 403
    assert "evil.example" in response.text
    assert "--allow-host" in response.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST:1"])
def test_loopback_is_answered(client: FlaskClient, host: str) -> None:
    """By each of its names, at any port."""
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_an_allowed_host_is_answered(tmp_path: Path) -> None:
    """The remedy works."""
    app = create_app({"RINGBUS_STATE": tmp_path, "RINGBUS_ALLOW_HOSTS": ["box.lan"]})
    assert app.test_client().get("/", headers={"Host": "box.lan:8765"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil@localhost", "localhost:8765:1", "localhost/", "[::1", "127.0.0.1.evil.example", "*"],
)
def test_what_only_looks_like_loopback_is_refused(client: FlaskClient, host: str) -> None:
    """Whatever another parser would make of it."""
    assert client.get("/", headers={"Host": host}).status_code == 403


def test_any_host_may_be_allowed(tmp_path: Path) -> None:
    """Its own pages work then; those of other sites are refused all the same."""
    app = create_app({"RINGBUS_STATE": tmp_path, "RINGBUS_ALLOW_HOSTS": "*"})
    client, host = app.test_client(), {"Host": "box.lan"}
    assert client.get("/", headers=host | {"Origin": "http://box.lan"}).status_code == 200
    assert client.get("/", headers=host | {"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/", headers=host | {"Origin": "null"}).status_code == 403


def test_allowed_hosts_may_be_one_text(tmp_path: Path) -> None:
    """As an environment variable gives it; what is no host is named."""
    config = {"RINGBUS_STATE": tmp_path, "RINGBUS_ALLOW_HOSTS": "box.lan, Agents.Example"}
    client = create_app(config).test_client()
    for host in ("box.lan", "agents.example:443"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    assert client.get("/", headers={"Host": "b"}).status_code == 403
    with pytest.raises(ValueError, match=r"http://box\.lan"):
        create_app(config | {"RINGBUS_ALLOW_HOSTS": ["http://box.lan"]})


@pytest.mark.parametrize("place", ["192.0.2.7", "2001:db8::7", "fe80::1%eth0", "10.0.0.1", "name"])
def test_other_machines_need_a_token_whoever_lets_them_in(tmp_path: Path, place: str) -> None:
    """An application may listen for them; they write into Host what they like."""
    config = {"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": None, "RINGBUS_ALLOW_HOSTS": "*"}
    client, far = create_app(config).test_client(), {"REMOTE_ADDR": place}
    for path in ("/", "/agents/a/events", "/follow?follow=1", "/metrics"):
        response = client.get(path, environ_overrides=far)
        assert response.status_code == 403
        assert "RINGBUS_TOKEN" in response.text
    assert client.get("/healthz", environ_overrides=far).status_code == 200
    guarded = create_app(config | {"RINGBUS_TOKEN": TOKEN}).test_client()
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", environ_overrides=far, headers=bearer).status_code == 200


@pytest.mark.parametrize("place", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", ""])
def test_this_machine_needs_none(client: FlaskClient, place: str) -> None:
    """By whichever address, or by a socket that has none."""
    assert client.get("/", environ_overrides={"REMOTE_ADDR": place}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:3000",
        "http://localhost.evil.example",
        "file://localhost",
        "",
    ],
)
def test_a_foreign_origin_is_refused(client: FlaskClient, origin: str) -> None:
    """A script of another site, or of another server on this machine, gets no answer."""
    assert client.get("/events", headers={"Origin": origin}).status_code == 403


def test_the_own_origin_is_answered(client: FlaskClient) -> None:
    """Browsers send it with some requests of the page itself."""
    for host in ("localhost:8765", "127.0.0.1:80", "[::1]:8765"):
        own = {"Host": host, "Origin": f"http://{host}"}
        assert client.get("/healthz", headers=own).status_code == 200


def test_an_allowed_origin_is_answered_whatever_a_proxy_makes_of_the_host(tmp_path: Path) -> None:
    """Some put in the address by which they reach the server."""
    app = create_app({"RINGBUS_STATE": tmp_path, "RINGBUS_ALLOW_HOSTS": ["agents.example"]})
    headers = {"Host": "127.0.0.1:8765", "Origin": "https://agents.example"}
    assert app.test_client().get("/healthz", headers=headers).status_code == 200


def test_other_sites_may_link_but_not_embed(client: FlaskClient) -> None:
    """An image or frame of another site gets nothing; a click opens the page."""
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    clicked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=embedded).status_code == 403
    assert client.get("/", headers=clicked).status_code == 200


TOKEN = "s3cret-and-long-enough"  # noqa: S105


@pytest.fixture
def link() -> LoginLink:
    """The login link of `guarded`."""
    return LoginLink()


@pytest.fixture
def guarded(tmp_path: Path, link: LoginLink) -> FlaskClient:
    """A client of an application with a token."""
    config = {"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": TOKEN, "RINGBUS_LOGIN_LINK": link}
    return create_app(config).test_client()


def test_without_the_token_nothing_is_shown(guarded: FlaskClient) -> None:
    """Every page and stream asks for it, and says how to show it."""
    open_to_all = {"ringbus.static", "ringbus.login", "ringbus.healthz", "ringbus.readyz"}
    rules = list(guarded.application.url_map.iter_rules())
    assert open_to_all < {rule.endpoint for rule in rules}
    for rule in rules:
        response = guarded.get(rule.rule.replace("<agent>", "a"))
        if rule.endpoint not in open_to_all:
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert "login link" in response.text


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer other",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}\xe9",
        TOKEN,
    ],
)
def test_a_bearer_token_is_enough(guarded: FlaskClient, shown: str) -> None:
    """For programs; nothing that is only like it."""
    assert guarded.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/", headers={"Authorization": shown}).status_code == 401


def test_space_around_the_token_does_not_count(tmp_path: Path) -> None:
    """No header can carry it."""
    config = {"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": f" {TOKEN}\n"}
    client = create_app(config).test_client()
    assert client.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_token_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    """On loopback, too, where proxies let the world in; no answer tells it."""
    with pytest.raises(ValueError, match="RINGBUS_TOKEN has 3 characters") as refused:
        create_app({"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": "abc"})
    assert "secrets.token_urlsafe" in str(refused.value)


def test_the_login_link_signs_one_browser_in(guarded: FlaskClient, link: LoginLink) -> None:
    """With a cookie that scripts and other sites never see, and that is not the token; once."""
    path = f"/login?once={link.secret}"
    response = guarded.get(path)
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert guarded.get("/").status_code == 200
    again = guarded.get(path)
    assert again.status_code == 401
    assert "Set-Cookie" not in again.headers


def test_another_token_signs_all_browsers_out(guarded: FlaskClient, tmp_path: Path) -> None:
    """And nobody makes a cookie of his own, of the token or of nothing."""
    guarded.post("/login", data={"token": TOKEN})
    cookie = guarded.get_cookie("ringbus")
    assert cookie is not None
    config = {"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": f"another {TOKEN}"}
    other = create_app(config).test_client()
    for value in (cookie.value, "", TOKEN, f"another {TOKEN}", cookie.value.upper()):
        other.set_cookie("ringbus", value)
        assert other.get("/").status_code == 401
    other.post("/login", data={"token": f"another {TOKEN}"})
    assert other.get("/").status_code == 200


def test_a_link_that_is_only_looked_at_stays_good(guarded: FlaskClient, link: LoginLink) -> None:
    """Browsers fetch ahead, and programs ask what is there."""
    path = f"/login?once={link.secret}"
    guarded.head(path)
    guarded.get(path, headers={"Sec-Purpose": "prefetch;prerender"})
    assert "Set-Cookie" in guarded.get(path).headers


@pytest.mark.parametrize("once", ["", "wrong", TOKEN, "\xe9"])
def test_a_wrong_login_link_is_refused(guarded: FlaskClient, link: LoginLink, once: str) -> None:
    """It sets nothing, and leaves the true one good. The token itself is no part of a link."""
    response = guarded.get("/login", query_string={"once": once})
    assert response.status_code == 401
    assert "Set-Cookie" not in response.headers
    assert guarded.get("/login", query_string={"token": TOKEN}).headers.get("Set-Cookie") is None
    assert "Set-Cookie" in guarded.get(f"/login?once={link.secret}").headers


def test_the_token_can_be_entered(guarded: FlaskClient) -> None:
    """On another device, or when the cookie is too old: the page that refuses has the form."""
    page = guarded.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert 'action="/login"' in page.text
    # Else browsers send the form with the origin "null".
    assert page.headers["Referrer-Policy"] == "same-origin"
    own = {"Host": "localhost:1", "Origin": "http://localhost:1"}
    wrong = guarded.post("/login", data={"token": "wrong"}, headers=own)
    assert wrong.status_code == 401
    assert "Set-Cookie" not in wrong.headers
    foreign = {"Origin": "https://evil.example"}
    assert guarded.post("/login", data={"token": TOKEN}, headers=foreign).status_code == 403
    guarded.post("/login", data={"token": TOKEN}, headers=own)
    assert guarded.get("/", headers={"Host": "localhost:1"}).status_code == 200


def test_a_form_that_is_too_long_is_refused(guarded: FlaskClient) -> None:
    """Before it is read."""
    assert guarded.post("/login", data={"token": "x" * 10_000}).status_code == 413
    assert guarded.post("/", data={"token": TOKEN}).status_code == 405


def test_behind_tls_the_cookie_is_for_tls_alone(guarded: FlaskClient) -> None:
    """Also where a proxy takes the TLS off."""
    for how in ({"base_url": "https://localhost"}, {"headers": {"X-Forwarded-Proto": "https"}}):
        response = guarded.post("/login", data={"token": TOKEN}, **how)
        assert "Secure" in response.headers["Set-Cookie"]


def test_applications_side_by_side_do_not_sign_each_other_out(tmp_path: Path) -> None:
    """Each cookie is for the pages of its own application."""
    host = Flask("host")
    apps = {}
    for prefix in ("/one", "/two"):
        app = Flask(prefix, static_folder=None)
        app.config.update(RINGBUS_STATE=tmp_path, RINGBUS_TOKEN=f"long token of {prefix}")
        RingbusWeb(app)
        apps[prefix] = app
    host.wsgi_app = DispatcherMiddleware(host.wsgi_app, apps)  # type: ignore[method-assign]
    client = host.test_client()
    client.post("/one/login", data={"token": "long token of /one"})
    assert client.get("/one/").status_code == 200
    assert client.get("/two/").status_code == 401
    client.post("/two/login", data={"token": "long token of /two"})
    assert [client.get(f"{prefix}/").status_code for prefix in apps] == [200, 200]


def test_bare_addresses_are_answered_where_a_token_is_asked_for(guarded: FlaskClient) -> None:
    """Rebinding needs a name."""
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", headers=token | {"Host": "192.0.2.7:8765"}).status_code == 200
    assert guarded.get("/", headers=token | {"Host": "box.lan"}).status_code == 403
