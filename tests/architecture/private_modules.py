"""A contract for import-linter: a module whose name begins with an underscore is imported only inside its package."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


class PrivateModules(Contract):
    """No private module of a package is imported from outside that package."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        broken = [
            (importer, imported)
            for imported in graph.modules
            if (package := package_of(imported)) is not None
            for importer in graph.find_modules_that_directly_import(imported)
            if not f"{importer}.".startswith(f"{package}.")
        ]
        return ContractCheck(kept=not broken, metadata={"broken": sorted(broken)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} imports {imported}, which is private to {package_of(imported)}")


def package_of(module: str) -> str | None:
    """The package that a module is private to; None if it is public."""
    parts = module.split(".")
    private = [index for index, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
    return ".".join(parts[: private[0]]) if private else None
