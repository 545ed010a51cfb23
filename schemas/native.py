"""What is written in C by hand (deploy/native/hot.c), in a copy made by `deploy.compiled`; None where the sources run.

Each of its functions stands in for one in Python, beside which it is chosen at import, and returns what that returns.
"""

from __future__ import annotations

from types import ModuleType

hot: ModuleType | None
try:
    from schemas import _hot

    hot = _hot
except ImportError:
    hot = None
