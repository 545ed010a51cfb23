"""The contract types behind `[[tool.importlinter.contracts]]`: who may import whom, said as what is allowed.

Import-linter's own `forbidden` type lists what is not allowed, so that a new folder would be allowed until somebody thinks of it.
"""

from __future__ import annotations

from typing import Any

import grimp
from importlinter import Contract, ContractCheck, fields, output


def _within(module: str, packages: Any) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


class _ByEdge(Contract):
    """A contract over single imports; `_wrong` names the importers and imported modules that break it."""

    def _wrong(self, graph: grimp.ImportGraph) -> list[tuple[str, str]]:
        raise NotImplementedError  # pragma: no cover - both types below say which

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        wrong = sorted(self._wrong(graph))
        lines = [
            f"{importer} imports {imported} (line {detail['line_number']})"
            for importer, imported in wrong
            for detail in graph.get_import_details(importer=importer, imported=imported) or [{"line_number": "?"}]
        ]
        return ContractCheck(kept=not wrong, metadata={"lines": lines})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["lines"]:
            output.print_error(line)


class OnlyImports(_ByEdge):
    """Modules of `source` import nothing of ours but what lies in `allowed` (or in `source` itself)."""

    source = fields.StringField()
    allowed = fields.ListField(subfield=fields.StringField(), required=False, default=[])

    def _wrong(self, graph: grimp.ImportGraph) -> list[tuple[str, str]]:
        ours: Any = self.session_options["root_packages"]
        allowed: Any = [self.source, *self.allowed]  # type: ignore[misc]
        return [
            (importer, imported)
            for importer in graph.modules
            if _within(importer, [self.source])
            for imported in graph.find_modules_directly_imported_by(importer)
            if _within(imported, ours) and not _within(imported, allowed)
        ]


class OnlyImportedBy(_ByEdge):
    """Only modules in `importers` import anything in `modules`, whether ours or others'."""

    modules = fields.ListField(subfield=fields.StringField())
    importers = fields.ListField(subfield=fields.StringField())

    def _wrong(self, graph: grimp.ImportGraph) -> list[tuple[str, str]]:
        return [
            (importer, imported)
            for imported in graph.modules
            if _within(imported, self.modules)
            for importer in graph.find_modules_that_directly_import(imported)
            if not _within(importer, self.importers) and not _within(importer, self.modules)
        ]


class WiredOnlyIn(Contract):
    """Only `module` imports from every one of `packages`; any other module knows some of them at most."""

    packages = fields.ListField(subfield=fields.StringField())
    module = fields.StringField()

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        wrong = [
            importer
            for importer in sorted(graph.modules - {self.module})  # type: ignore[operator]
            if not graph.is_module_squashed(importer)
            and all(
                any(_within(imported, [package]) for imported in graph.find_modules_directly_imported_by(importer))
                for package in self.packages  # type: ignore[attr-defined]
            )
        ]
        return ContractCheck(kept=not wrong, metadata={"modules": wrong})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for module in check.metadata["modules"]:
            output.print_error(f"{module} wires {', '.join(self.packages)} together; only {self.module} does")  # type: ignore[attr-defined]
