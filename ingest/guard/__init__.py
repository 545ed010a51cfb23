"""Decisions at the proxy: a policy applied to the statements of a session."""
