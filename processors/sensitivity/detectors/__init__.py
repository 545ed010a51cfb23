"""Every detector, in the order in which spans of one cell are reported. A new one goes into the file of its kind."""

from __future__ import annotations

from processors.sensitivity.detector import Detector
from processors.sensitivity.detectors import contact, money, national, personal, secrets

DETECTORS: tuple[Detector, ...] = (
    *secrets.DETECTORS,
    *money.DETECTORS,
    *national.DETECTORS,
    *contact.DETECTORS,
    *personal.DETECTORS,
)
