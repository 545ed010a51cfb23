"""How is it run? Commands, the machine's processes, containers and what stands beside them."""

PACKAGES = frozenset(("deploy", "ingest", "processors", "query_api", "schemas"))
"""Those of this project: their errors are worded for people, who need no traceback."""
