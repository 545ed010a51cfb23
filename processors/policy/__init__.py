"""Facts, principal and context → Decision: policy bundles of YAML rules whose conditions are CEL. Pure: times are passed in."""

from __future__ import annotations

from processors.policy.approval import Approval
from processors.policy.bundle import Approvers, Bundle, PolicyError, read_bundle
from processors.policy.context import (
    VARIABLES,
    Values,
    approval_values,
    granted_values,
    moment_values,
    statement_values,
    subject_values,
)
from processors.policy.decide import Matches, Policy, Ruling

__all__ = [
    "VARIABLES",
    "Approval",
    "Approvers",
    "Bundle",
    "Matches",
    "Policy",
    "PolicyError",
    "Ruling",
    "Values",
    "approval_values",
    "granted_values",
    "moment_values",
    "read_bundle",
    "statement_values",
    "subject_values",
]
