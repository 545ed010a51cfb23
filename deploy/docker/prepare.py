"""What a pod's first container does: the configuration and the keys, put where the role may use them.

A ConfigMap is the same for all pods of a set, and each proxy must have a name of its own: `${POD_NAME}` in the template is it.
Secrets are mounted readable by a group, and a signing key that others can read is refused: keys are copied, for this user only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

TEMPLATE, CONFIG = Path("/etc/affidavit-template/affidavit.yaml"), Path("/etc/affidavit/affidavit.yaml")
KEYS, DATA = Path("/etc/affidavit-keys"), Path("/var/lib/affidavit")


def prepare(template: Path, config: Path, keys: Path, data: Path, environment: Mapping[str, str]) -> None:
    """Write `config`, and copy what `keys` holds into the data directory. Raises OSError, and ValueError naming what lacks."""
    text = template.read_text()
    if "${POD_NAME}" in text:
        name = environment.get("POD_NAME", "")
        if not name:
            raise ValueError("POD_NAME is not set: give it by fieldRef metadata.name")
        text = text.replace("${POD_NAME}", name)
    config.write_text(text)
    for source in sorted(keys.glob("*")) if keys.is_dir() else ():
        if source.name.startswith(".") or not source.is_file():  # how Kubernetes swaps the versions of a volume
            continue
        folder = data / "keys"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = folder / f".{source.name}.new"
        half.unlink(missing_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644 if source.suffix == ".pub" else 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(source.read_bytes())
        half.replace(folder / source.name)


def main() -> int:
    """Prepare this pod."""
    try:
        prepare(TEMPLATE, CONFIG, KEYS, DATA, os.environ)
    except (OSError, ValueError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
