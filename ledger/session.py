"""What every session with the database has in common."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict, make_conninfo


def session(url: str, options: str = "") -> str:
    """`url` with options of a session, after those of its own. Times are spelled as the driver reads them."""
    own = conninfo_to_dict(url).get("options") or ""
    return make_conninfo(url, options=f"{own} -c timezone=UTC -c datestyle=ISO {options}".strip())
