"""Schema migrations (Alembic). Run by an owner's login alone, through `chipledger db upgrade`."""
