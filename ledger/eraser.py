"""The SQL that erases, with a login of its own: it may set the bodies of an entry to NULL, and no more.

The database itself checks each: that a committed `value.erased`, on an accepted request, names the entry
(`migrations/versions`). So whoever steals this login can do nothing but what the log has said already.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql

from ledger.errors import RefusesToWrite, Unavailable
from ledger.tables import BodyRow

SAID_BY = "chipledger.erased_by"
"""The setting in which the trigger finds the entry that says so."""
_COLUMNS = [name for name in BodyRow.model_fields if name != "index"]


def erase_bodies(url: str, erasures: Iterable[tuple[int, int]]) -> int:
    """Erase the bodies of entries, each a transaction of its own; gives how many were there.

    `erasures` are pairs of entry and `value.erased`. What is erased already is passed by, so a run that
    was cut short is run again. Raises RefusesToWrite where the database refuses.
    """
    changes = sql.SQL(", ").join(sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in _COLUMNS)
    statement = sql.SQL("UPDATE bodies SET {} WHERE index = %s").format(changes)
    erased = 0
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            for index, by in erasures:
                with connection.transaction():
                    connection.execute("SELECT set_config(%s, %s, true)", [SAID_BY, str(by)])
                    erased += connection.execute(statement, [index]).rowcount
    except psycopg.errors.InsufficientPrivilege as error:
        raise RefusesToWrite(f"the database refuses to erase: {error.diag.message_primary}") from error
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database cannot be reached: {error}") from error
    return erased
