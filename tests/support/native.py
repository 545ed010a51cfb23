"""The module that `deploy.compiled` makes of the C by hand, loaded from a folder of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from deploy.compiled import compile_native
from tests.support import compiled_copy


def built(folder: Path) -> ModuleType:
    """Compile and load it; skip the test where nothing compiles."""
    if reason := compiled_copy.missing():
        pytest.skip(reason)
    found = importlib.util.spec_from_file_location("schemas._hot", compile_native(folder))
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
