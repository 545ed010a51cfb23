"""Masking of results: which columns, how a masked cell looks, and rows rewritten as they stream. Pure; no session uses it yet."""

from __future__ import annotations

from ingest.masking.cells import Style, masked
from ingest.masking.plan import ColumnPlan, ColumnTags, MaskPlan, Treatment, plan_result
from ingest.masking.rows import RowMasker

__all__ = ["ColumnPlan", "ColumnTags", "MaskPlan", "RowMasker", "Style", "Treatment", "masked", "plan_result"]
