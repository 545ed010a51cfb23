"""What could a statement do harm by? Tables of what the server's own functions, settings and statements can do.

Judged are names as the grammar resolved them and the tree around them, never text. docs/guardrails.md lists what is caught.
"""

from __future__ import annotations

from processors.statements.dangers.functions import of_function
from processors.statements.dangers.objects import of_read, of_write
from processors.statements.dangers.settings import of_setting

__all__ = ["of_function", "of_read", "of_setting", "of_write"]
