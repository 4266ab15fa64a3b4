"""A client of the web application for tests, and what it reads."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

from flask import Flask
from flask.testing import FlaskClient
from turns import Agent
from werkzeug.test import TestResponse

from ringbus.events import Envelope, Note, check_event
from ringbus.history import History
from ringbus.web.state import WebState

EPOCH = "9f3c2b1a00d1e2f3"
OTHER_EPOCH = "00000000000000aa"


def web_state(app: Flask) -> WebState:
    """What the views of the application share."""
    state: WebState = app.extensions["ringbus"]
    return state


def store(agent: Agent, payloads: list[bytes]) -> None:
    """Writes a history without a ring."""
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(EPOCH)
        rows = [(seq, 1_000_000_000 + seq, *check_event(each)) for seq, each in enumerate(payloads)]
        history.append(EPOCH, rows, len(rows))
        history.end_epoch(EPOCH)


def notes(number: int) -> list[bytes]:
    """Payloads of notes that tell their seq."""
    return [Envelope(EPOCH, seq, 0, event=Note(f"row {seq}")).payload for seq in range(number)]


Frame = dict[str, str]


def frames(response: TestResponse) -> Iterator[Frame]:
    """The frames of an event stream, each as its fields; comments left out."""
    waiting = b""
    for piece in response.response:
        assert isinstance(piece, bytes)
        *blocks, waiting = (waiting + piece).split(b"\n\n")
        for block in blocks:
            fields = [line.partition(": ") for line in block.decode().split("\n")]
            yield {name: value for name, _, value in fields if name and not name.startswith(":")}


def take(response: TestResponse, number: int) -> list[Frame]:
    """The first frames of a stream, which is closed then."""
    found = frames(response)
    taken = [next(found) for _ in range(number)]
    response.close()
    return taken


def listen(client: FlaskClient, path: str, **headers: str) -> TestResponse:
    """Opens an event stream."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = client.get(path, headers=named, buffered=False)
    assert response.status_code == 200
    assert response.mimetype == "text/event-stream"
    return response


def texts(found: list[Frame]) -> list[str]:
    """What the notes in these frames say."""
    return [json.loads(frame["data"])["text"] for frame in found]


def messages(response: http.client.HTTPResponse) -> Iterator[tuple[str, bytes]]:
    """Id and data of each plain message; none of these tests expects a gap or a reset."""
    fields: dict[bytes, bytes] = {}
    while line := response.readline():
        name, _, value = line.removesuffix(b"\n").partition(b": ")
        if name:
            fields[name] = value
        elif b"data" in fields:
            if fields.get(b"event") != b"cursor":
                assert b"event" not in fields, fields
                yield fields[b"id"].decode(), fields[b"data"]
            fields = {}
