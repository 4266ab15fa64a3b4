"""Who may ask the web interface: hosts, origins, the token."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from ringbus.web import create_app


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


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_foreign_origin_is_refused(client: FlaskClient, origin: str) -> None:
    """A script of another site cannot read the events."""
    assert client.get("/events", headers={"Origin": origin}).status_code == 403


def test_the_own_origin_is_answered(client: FlaskClient) -> None:
    """Browsers send it with some requests of the page itself."""
    response = client.get("/healthz", headers={"Origin": "http://localhost:8765"})
    assert response.status_code == 200


def test_other_sites_may_link_but_not_embed(client: FlaskClient) -> None:
    """An image or frame of another site gets nothing; a click opens the page."""
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    clicked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=embedded).status_code == 403
    assert client.get("/", headers=clicked).status_code == 200


@pytest.fixture
def guarded(tmp_path: Path) -> FlaskClient:
    """A client of an application with a token."""
    return create_app({"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": "s3cret"}).test_client()


def test_without_the_token_nothing_is_shown(guarded: FlaskClient) -> None:
    """Every page and stream asks for it, and says how to show it."""
    for path in ("/", "/events", "/agents/a", "/agents/a/events", "/agents/a/history", "/metrics"):
        response = guarded.get(path)
        assert response.status_code == 401
        assert "login link" in response.text


def test_a_bearer_token_is_enough(guarded: FlaskClient) -> None:
    """For programs."""
    assert guarded.get("/", headers={"Authorization": "Bearer s3cret"}).status_code == 200
    assert guarded.get("/", headers={"Authorization": "Bearer other"}).status_code == 401


def test_the_login_link_signs_the_browser_in(guarded: FlaskClient) -> None:
    """With a cookie that scripts and other sites never see, and that is not the token."""
    response = guarded.get("/login?token=s3cret")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "s3cret" not in cookie
    assert guarded.get("/").status_code == 200


def test_a_wrong_login_link_is_refused(guarded: FlaskClient) -> None:
    """And sets nothing."""
    response = guarded.get("/login?token=wrong")
    assert response.status_code == 401
    assert "Set-Cookie" not in response.headers


def test_bare_addresses_are_answered_where_a_token_is_asked_for(guarded: FlaskClient) -> None:
    """Rebinding needs a name."""
    token = {"Authorization": "Bearer s3cret"}
    assert guarded.get("/", headers=token | {"Host": "192.0.2.7:8765"}).status_code == 200
    assert guarded.get("/", headers=token | {"Host": "box.lan"}).status_code == 403
