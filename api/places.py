"""Where a path or a URL leads: a folder, or a bucket, whose library only they load who name one."""

from __future__ import annotations

from pathlib import Path

from api.settings import Settings
from ledger.checkpoint_store import CheckpointStore
from ledger.folder import Folder
from ledger.note import Signer
from ledger.static_log import Target


def target_at(place: str) -> Target:
    """What tiles are written to. Raises UnusableInput."""
    if "://" not in place:
        return Folder(Path(place))
    from api.bucket import Bucket

    return Bucket(place)


def store_of(settings: Settings, signer: Signer) -> CheckpointStore:
    """Where the log's last checkpoint is kept outside the database. Raises UnusableInput."""
    if settings.store_bucket is None:
        return CheckpointStore.in_folder(settings.store_path, signer.name)
    from api.bucket import FilesInBucket

    return CheckpointStore(FilesInBucket(settings.store_bucket), signer.name)
