"""The verb that asks ring and history in SQL."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from pathlib import Path

import apsw
import apsw.ext
import click

from ringbus import settings
from ringbus.cli.options import json_option, name_argument, state_folder, state_option
from ringbus.cli.output import print_table
from ringbus.errors import HistoryError
from ringbus.history.table import open_both

Value = None | int | float | bytes | str


@click.command()
@name_argument
@click.argument("query", metavar="QUERY")
@json_option
@state_option
def sql(*, name: str, query: str, as_json: bool, state: Path | None) -> None:
    """Ask an agent's ring and history in SQL; nothing can be changed.

    Table `ring` is what the ring holds at this moment (seq, ts, kind, payload_json, ts_ns,
    transient, emitter), `events` what is stored (id, ts, kind, payload_json, ts_ns).

    \b
    Example:
      ringbus sql reviewer "select kind, count(*) from ring group by kind"
    """
    try:
        with closing(open_both(name, settings.history_path(name, state_folder(state)))) as db:
            columns = [column for column, _ in apsw.ext.query_info(db, query).description]
            rows = db.execute(query)
            if as_json:
                for row in rows:
                    click.echo(json.dumps(dict(zip(columns, map(_json, row), strict=True))))
            else:
                print_table(columns, [[_text(value) for value in row] for row in rows])
    except apsw.Error as error:
        raise HistoryError(str(error)) from error


def _text(value: Value) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, bytes) else str(value)


def _json(value: Value) -> int | float | str | None:
    """Bytes that are no text as base64, as everywhere."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


VERBS = (sql,)
