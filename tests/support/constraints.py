"""Print the versions installed in this environment, names and versions only: what `constraints.txt` holds.

Only what the project or its development extra needs, directly or not, is named; tools that merely happen to be here are left out.
"""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "affidavit"


def needed(name: str, extras: frozenset[str], seen: dict[tuple[str, frozenset[str]], None]) -> dict[str, Distribution]:
    """Return the distributions that `name` with `extras` needs, itself included, by canonical name."""
    key = (canonicalize_name(name), extras)
    if key in seen:
        return {}
    seen[key] = None
    try:
        dist = distribution(name)
    except PackageNotFoundError:
        return {}
    found = {key[0]: dist}
    for line in dist.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            found |= needed(requirement.name, frozenset(requirement.extras), seen)
    return found


def main() -> None:
    """Print one `name==version` a line, sorted, the project itself left out."""
    found = needed(ROOT, frozenset({"dev"}), {})
    print("# The versions the suite was last run with; `make constraints` writes this file.")
    for name in sorted(found.keys() - {ROOT}):
        print(f"{name}=={found[name].version}")


if __name__ == "__main__":
    main()
