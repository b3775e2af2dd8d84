"""Where a path or a URL leads: a folder, or a bucket, whose library only they need who have one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from api.settings import Settings
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import UnusableInput
from ledger.folder import Folder
from ledger.note import Signer
from ledger.static_log import Target


def target_at(place: str) -> Target:
    """What tiles are written to. Raises UnusableInput."""
    return _buckets().Bucket(place) if "://" in place else Folder(Path(place))


def store_of(settings: Settings, signer: Signer) -> CheckpointStore:
    """Where the log's last checkpoint is kept outside the database. Raises UnusableInput."""
    if settings.store_bucket is not None:
        return CheckpointStore(_buckets().FilesInBucket(settings.store_bucket), signer.name)
    return CheckpointStore.in_folder(settings.store_path, signer.name)


def _buckets() -> ModuleType:
    try:
        return import_module("api.bucket")
    except ImportError:
        raise UnusableInput("a bucket needs obstore: install chipledger with the extra `bucket`") from None
