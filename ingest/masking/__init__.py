"""Masking of results: which columns, how a masked cell looks, and rows rewritten as they stream. No clock, no sockets."""

from __future__ import annotations

from ingest.masking.cells import masked
from ingest.masking.database import DatabaseMasking
from ingest.masking.masking_guard import MaskingGuard
from ingest.masking.plan import ColumnPlan, ColumnTags, MaskPlan, Treatment, plan_result
from ingest.masking.rows import RowMasker
from ingest.masking.session import SessionMasking
from schemas.classes import Style

__all__ = [
    "ColumnPlan",
    "ColumnTags",
    "DatabaseMasking",
    "MaskPlan",
    "MaskingGuard",
    "RowMasker",
    "SessionMasking",
    "Style",
    "Treatment",
    "masked",
    "plan_result",
]
