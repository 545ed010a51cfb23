"""Names and values to data classes: what a column or a cell holds that not everybody may see. Pure; proxies use it too."""

from __future__ import annotations

from processors.sensitivity.columns import Column, classify
from processors.sensitivity.detector import Detector
from processors.sensitivity.detectors import DETECTORS
from processors.sensitivity.scanner import Scanner, Span

__all__ = ["DETECTORS", "Column", "Detector", "Scanner", "Span", "classify"]
