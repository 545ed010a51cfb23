"""Where does a worker's policy come from, and what happens when its files change?

The files are read when the worker starts: what cannot be used then stops it, for no policy is not an empty policy. Later they are
looked at every `policy.reload_seconds`; a new bundle that cannot be used leaves the old one in force, and says so in the trail.
Files that are still being written are not read: the first half of a bundle is a bundle too, with rules missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from ingest.core.errors import UnusableSettingError
from ingest.guard.guard import Guard
from ingest.guard.rights import Grants
from processors.policy import Policy, PolicyError, read_bundle

Note = Callable[[bytes], object]
"""Records the body of a PolicyChanged event."""


class PolicyFilesError(UnusableSettingError):
    """The policy cannot be used; the text names file and remedy."""


class PolicyFiles:
    """The files of one bundle and the guard that they rule."""

    def __init__(self, paths: Sequence[Path], note: Note, grants: Grants | None = None) -> None:
        self._paths = tuple(paths)
        self._note = note
        self._seen: tuple[object, ...] = ()
        self._before: tuple[object, ...] | None = None
        """How they looked the last time, where that is not how they were read."""
        try:
            self._seen = self._look()
            self.guard = Guard(Policy(read_bundle(self._read())))
        except OSError as error:
            raise PolicyFilesError(f"policy.files: {error.filename}: cannot be read: {error.strerror}") from None
        except PolicyError as error:
            raise PolicyFilesError("\n".join(f"policy.files: {line}" for line in str(error).splitlines())) from None
        if grants is not None:
            self.guard.grants = grants
        self._say("loaded", self.guard.policy, "")

    def changed(self) -> bool:
        """Whether the files look different from when they were last read, and as at the last look; a file that is gone does."""
        try:
            now = self._look()
        except OSError:
            now = ()
        if now == self._seen:
            self._before = None
            return False
        before, self._before = self._before, now
        return now == before

    def reload(self) -> None:
        """Read the files again and put them in force if they can be used."""
        old = self.guard.policy
        try:
            seen = self._look()
            files = self._read()
            if self._look() != seen:  # somebody writes just now
                return
            self._seen = seen
            policy = Policy(read_bundle(files))
        except OSError as error:
            self._seen = ()
            self._say("rejected", old, old.version, f"{error.filename}: cannot be read: {error.strerror}")
        except PolicyError as error:
            self._say("rejected", old, old.version, str(error))
        else:
            if policy.version != old.version:
                self.guard.replace(policy)
                self._say("loaded", policy, old.version)

    def _look(self) -> tuple[object, ...]:
        found = [path.stat() for path in self._paths]
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in found)

    def _read(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self._paths}

    def _say(self, status: str, policy: Policy, previous: str, problem: str = "") -> None:
        body = {
            "bundle": policy.version,
            "previous": previous,
            "status": status,
            "rules": len(policy.bundle.rules),
            "problem": problem[:2000],
        }
        self._note(b"," + orjson.dumps(body)[1:-1])
