"""The digest of the code that a rule's result depends on, for Snakemake to notice a change in it.

Snakemake sees a change in a rule's script, not in the library that the script calls. Each rule
therefore has the digest of the modules that its script imports, at any depth, as a parameter. The
digest is taken over syntax trees without docstrings: rewording a comment re-runs nothing.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def script_digest(script: str | Path, package: Path = PACKAGE) -> str:
    """Digest of all modules of the library that a script imports, at any depth.

    Parameters
    ----------
    script : str or Path
        A Python file. Snakemake notices changes in the script itself, so it is left out.
    package : Path
        Folder of the library.

    Returns
    -------
    str
        16 hexadecimal digits. They depend on Python's minor version, as syntax trees do.

    Raises
    ------
    ImportError
        A module imports another one of the library that does not exist.
    """
    return _digest(imported_modules(script, package), package)


def package_digest(package: Path = PACKAGE) -> str:
    """Digest of all modules of the library.

    Parameters
    ----------
    package : Path
        Folder of the library.

    Returns
    -------
    str
        16 hexadecimal digits, as of `script_digest`.
    """
    return _digest(package.rglob("*.py"), package)


def imported_modules(script: str | Path, package: Path = PACKAGE) -> set[Path]:
    """Find the modules of the library that a Python file imports, at any depth.

    Parameters
    ----------
    script : str or Path
    package : Path
        Folder of the library.

    Returns
    -------
    set of Path
        Files below `package`, with the ``__init__.py`` of each package on the way. The library's
        own ``__init__.py`` counts only where it is imported by name: all it holds is the version,
        which changes no result.

    Raises
    ------
    ImportError
        As for `script_digest`.
    """
    found: set[Path] = set()
    waiting = list(_imported(Path(script), package))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path, package)
    return found


def _digest(paths: Iterable[Path], package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(_read(path, path.stat().st_mtime_ns, package)[1])
    return digest.hexdigest()[:16]


def _imported(path: Path, package: Path) -> tuple[Path, ...]:
    return _read(path, path.stat().st_mtime_ns, package)[0]


@cache
def _read(path: Path, changed_ns: int, package: Path) -> tuple[tuple[Path, ...], bytes]:
    """Files that a file imports, and the digest of its syntax tree without docstrings.

    It is read anew when it has changed.
    """
    tree = ast.parse(path.read_bytes())
    imports = tuple(_find_imports(tree, path, package))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    return imports, hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).digest()


def _find_imports(tree: ast.Module, path: Path, package: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(alias.name, "", path, package)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield from _files_of(node.module, alias.name, path, package)


def _files_of(module: str, name: str, path: Path, package: Path) -> Iterator[Path]:
    """Files that ``from module import name`` runs, as far as they belong to the package."""
    first, *parts = module.split(".")
    if first != package.name:
        return
    folder = package
    for part in parts:
        if folder != package:
            yield folder / "__init__.py"
        folder /= part
    if not folder.is_dir():
        module_file = folder.with_suffix(".py")
        if not module_file.is_file():
            raise ImportError(f"{path} imports {module}, which does not exist")
        yield module_file
        return
    inner = folder / name
    if name and inner.with_suffix(".py").is_file():
        if folder != package:
            yield folder / "__init__.py"
        yield inner.with_suffix(".py")
    else:
        yield folder / "__init__.py"
