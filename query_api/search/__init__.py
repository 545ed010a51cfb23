"""The search language of the API: text → tree → parameterised SQL. Pure; docs/search.md is its manual."""

from __future__ import annotations

from query_api.search.compiler import Condition, compile_search
from query_api.search.errors import SearchError
from query_api.search.fields import CLAIM, FIELDS, Field
from query_api.search.parser import parse
from query_api.search.printer import show

__all__ = ["CLAIM", "FIELDS", "Condition", "Field", "SearchError", "compile_search", "parse", "show"]
