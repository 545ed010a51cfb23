"""Statements: Postgres query text to normalised text, fingerprint, facts, literal tokens and claims."""

from __future__ import annotations

from processors.statements.analyser import Analyser
from processors.statements.lexing import Lexing
from processors.statements.mistakes import Mistake
from processors.statements.statement import Analysis, Statement
from processors.statements.tokens import Tokenizer

__all__ = ["Analyser", "Analysis", "Lexing", "Mistake", "Statement", "Tokenizer"]
