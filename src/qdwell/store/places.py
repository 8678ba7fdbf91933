"""Where a store is: which database, and where its large blobs are.

A plain folder holds both: SQLite in `qdwell.db`, blobs in `blobs/`. With `database_url` the
database is PostgreSQL; the folder then keeps what belongs to one server alone, and the blobs, if
no other place is named. Servers that share a database must share the place of the blobs too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdwell.config import Config


@dataclass(frozen=True, slots=True)
class Place:
    """What `open_store` opens."""

    folder: Path
    #: Of PostgreSQL; None: SQLite in the folder. It may hold a password.
    database_url: str | None = field(default=None, repr=False)
    blobs: str | None = None  #: a folder, or s3://bucket/prefix; None: `blobs/` in the folder
    blob_options: Mapping[str, Any] = field(default_factory=dict, repr=False)  #: of the S3 client

    @classmethod
    def of(cls, config: Config, folder: Path | str) -> Place:
        """The place that a config and a data folder name together."""
        it = config.store
        return cls(Path(folder), it.database_url, it.blobs, it.blob_options)
