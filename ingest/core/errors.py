"""Whose fault is it? Every error that a connection can meet, by the side that broke the rule.

`ClientProtocolError`: the client sent bytes the protocol does not allow. `ServerProtocolError`: the database did.
The text of an error names the rule and never repeats payload bytes, because it goes to logs and events.
"""

from __future__ import annotations


class IngestError(Exception):
    """Base of what ingest raises on purpose."""


class ProtocolError(IngestError):
    """A peer broke the wire protocol; the connection cannot go on."""


class ClientProtocolError(ProtocolError):
    """The client's fault."""


class ServerProtocolError(ProtocolError):
    """The database server's fault."""


class AuthenticationError(IngestError):
    """The proxy and the database could not authenticate to each other (credential, mechanism or a failed proof)."""


class UnusableSettingError(IngestError):
    """What a setting names cannot be used: to start again changes nothing before somebody has mended it."""


class CertificateError(UnusableSettingError):
    """A certificate, key or authority file cannot be used; the text names the file and the remedy."""
