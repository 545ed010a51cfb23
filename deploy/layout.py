"""Where does what stand in the data directory? The one place in `deploy` that names files below `data_dir`."""

from __future__ import annotations

import errno
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from schemas.config import Config, LogKind
from schemas.control_keys import ControlSigner, ControlTrust, create_control_key, load_control_signer, load_control_trust
from schemas.whole_files import write_whole


class DataDirError(Exception):
    """The data directory cannot be used; the message names the path and the remedy."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """The data directory of one machine. docs/ARCHITECTURE.md describes each entry."""

    root: Path

    @property
    def token_key(self) -> Path:
        """The key that turns literals into tokens: 32 random bytes, kept as long as the trail must correlate."""
        return self.root / "keys" / "token.key"

    @property
    def keys(self) -> Path:
        """Folder of the signing keys, one a source."""
        return self.root / "keys"

    @property
    def identity(self) -> Path:
        """Tokens and pending admin actions."""
        return self.root / "identity.db"

    @property
    def control(self) -> Path:
        """What the control topic said and still holds, for the day it loses that."""
        return self.root / "control.db"

    @property
    def log(self) -> Path:
        """The embedded log."""
        return self.root / "log" / "log.db"

    @property
    def archive(self) -> Path:
        """The sealed blocks as published."""
        return self.root / "archive"

    @property
    def pipeline(self) -> Path:
        """What the pipeline has done: offsets and chain heads."""
        return self.root / "pipeline.db"

    @property
    def run(self) -> Path:
        """Of the running processes: pid files, and the token that local commands use."""
        return self.root / "run"

    @property
    def faust(self) -> Path:
        """Folder that Faust makes for a worker's tables. Ours are kept by ourselves: it stays empty."""
        return self.run / "faust"

    @property
    def states(self) -> Path:
        """The principals' states of a running worker, with `process.states: rocksdb`. Made anew at each start."""
        return self.run / "states"

    @property
    def local_token(self) -> Path:
        """The token of whoever can read this file: made anew at each start of the node."""
        return self.run / "local.token"

    def spool(self, source: str) -> Path:
        """The spool of one source."""
        return self.root / "spool" / source.replace("/", "_")

    def control_signer(self, log: LogKind) -> ControlSigner:
        """Return what signs messages to the proxies; on one machine its key is made if there is none. Raises ControlKeyError."""
        if log is not LogKind.KAFKA:
            create_control_key(self.keys)
        return load_control_signer(self.keys)

    def control_trust(self, log: LogKind) -> ControlTrust:
        """Return which messages to the proxies are believed; on one machine the key is made if there is none.

        Raises ControlKeyError.
        """
        if log is not LogKind.KAFKA:
            create_control_key(self.keys)
        return load_control_trust(self.keys)

    def prepare(self) -> None:
        """Make the folders (for this user only) and the token key where they are missing. Raises DataDirError."""
        try:
            for folder in (self.root, self.keys, self.run, self.log.parent, self.root / "spool", self.archive):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if not os.access(folder, os.W_OK | os.X_OK):
                    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
                    code = errno.EROFS if read_only else errno.EACCES
                    raise OSError(code, os.strerror(code), str(folder))
            for stale in self.keys.glob(".token.key.*"):
                stale.unlink(missing_ok=True)
            if not self.token_key.exists():
                write_whole(self.token_key, secrets.token_bytes(32))
        except OSError as error:
            where = error.filename or self.root
            raise DataDirError(f"data_dir: cannot write {where}: {error.strerror}; give a folder this user may write") from None
        if len(self.token_key.read_bytes()) != 32:
            raise DataDirError(f"{self.token_key} is damaged (not 32 bytes); restore it from a backup, tokens depend on it")


def archive_of(config: Config) -> Path:
    """Return the folder of the archive: the data directory's own, or the one that workers share."""
    return config.process.archive or DataDir(config.data_dir).archive
