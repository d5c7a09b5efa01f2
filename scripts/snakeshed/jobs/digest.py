"""The digest of the code that a rule's result depends on, for Snakemake to notice a change in it.

Snakemake sees a change in a rule's script, not in the library that the script calls. Each rule
therefore has the digest of the modules that its script imports, at any depth, as a parameter. The
digest is taken over syntax trees without docstrings: rewording a comment re-runs nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from snakeshed.atomic import atomic

PACKAGE = Path(__file__).parents[1]
# More than the library and a few older versions of it have.
_MOST_KEPT = 2000


class Syntax(NamedTuple):
    """What a Python file says.

    Attributes
    ----------
    digest : str
        Of its syntax tree without docstrings.
    imports : tuple of (str, str)
        Modules that it imports, and the names that it takes of them.
    """

    digest: str
    imports: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, content: bytes) -> Syntax:
        """Parse the content of a file."""
        tree = ast.parse(content)
        imports = tuple(dict.fromkeys(_find_imports(tree)))
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and ast.get_docstring(node, clean=False) is not None
            ):
                node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
        dump = ast.dump(tree, annotate_fields=False)
        return cls(hashlib.sha256(dump.encode()).hexdigest(), imports)


class KeptSyntax:
    """The syntax of files by their content, kept in a file: to parse the library takes a second.

    Parameters
    ----------
    path : str or Path
        Where it is kept. What is damaged, or of another Python or another version of this module,
        counts as not there; where nothing can be written, nothing is kept.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._stamp = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()
        self._known = self._load()
        self._is_new = False

    def of(self, content: bytes) -> Syntax:
        """Return what `Syntax.of` returns."""
        key = hashlib.sha256(content).hexdigest()
        if key not in self._known:
            self._known[key] = Syntax.of(content)
            self._is_new = True
        return self._known[key]

    def save(self) -> None:
        """Keep what is new."""
        if not self._is_new:
            return
        self._is_new = False
        kept = dict(list(self._known.items())[-_MOST_KEPT:])
        text = json.dumps({"stamp": self._stamp, "files": kept})
        with suppress(OSError), atomic(self._path, lasting=False) as part:
            part.write_text(f"{_sha256(text)}\n{text}", encoding="utf-8")

    def _load(self) -> dict[str, Syntax]:
        with suppress(OSError, ValueError):
            digest, _, text = self._path.read_text(encoding="utf-8").partition("\n")
            if digest == _sha256(text) and (read := json.loads(text))["stamp"] == self._stamp:
                return {
                    key: Syntax(digest, tuple(map(tuple, imports)))
                    for key, (digest, imports) in read["files"].items()
                }
        return {}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def script_digest(
    script: str | Path, package: Path = PACKAGE, kept: KeptSyntax | None = None
) -> str:
    """Digest of all modules of the library that a script imports, at any depth.

    Parameters
    ----------
    script : str or Path
        A Python file. Snakemake notices changes in the script itself, so it is left out.
    package : Path
        Folder of the library.
    kept : KeptSyntax, optional
        Spares parsing.

    Returns
    -------
    str
        16 hexadecimal digits. They depend on Python's minor version, as syntax trees do.

    Raises
    ------
    ImportError
        A module imports another one of the library that does not exist.
    """
    digest = _digest(imported_modules(script, package, kept), package, kept)
    if kept is not None:
        kept.save()
    return digest


def package_digest(package: Path = PACKAGE) -> str:
    """Digest of the files of all modules of the library.

    Unlike that of a script, it changes with comments: it is for processes that have to have the
    same library, and each of them would take a second to parse it.

    Parameters
    ----------
    package : Path
        Folder of the library.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name, content = path.relative_to(package).as_posix().encode(), path.read_bytes()
        digest.update(name + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def imported_modules(
    script: str | Path, package: Path = PACKAGE, kept: KeptSyntax | None = None
) -> set[Path]:
    """Find the modules of the library that a Python file imports, at any depth.

    Parameters
    ----------
    script : str or Path
    package : Path
        Folder of the library.
    kept : KeptSyntax, optional
        Spares parsing.

    Returns
    -------
    set of Path
        Files below `package`, with the ``__init__.py`` of each package on the way. The library's
        own ``__init__.py`` counts only where it is imported by name: all it holds is the version,
        which changes no result. All modules of a package that is imported as such count, since
        they are found by their names.

    Raises
    ------
    ImportError
        As for `script_digest`.
    """
    found: set[Path] = set()
    waiting = list(_imported(Path(script), package, kept))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path, package, kept)
    return found


def _digest(paths: Iterable[Path], package: Path, kept: KeptSyntax | None = None) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(package).as_posix().encode())
        syntax, _ = _read(path, path.stat().st_mtime_ns, package, kept)
        digest.update(bytes.fromhex(syntax.digest))
    return digest.hexdigest()[:16]


def _imported(path: Path, package: Path, kept: KeptSyntax | None) -> tuple[Path, ...]:
    return _read(path, path.stat().st_mtime_ns, package, kept)[1]


@cache
def _read(
    path: Path, changed_ns: int, package: Path, kept: KeptSyntax | None
) -> tuple[Syntax, tuple[Path, ...]]:
    """Syntax of a file, and the files of the library that it imports.

    It is read anew when it has changed.
    """
    syntax = (kept or Syntax).of(path.read_bytes())
    files = (
        file
        for module, name in syntax.imports
        if module.partition(".")[0] == package.name
        for file in _files_of(module, name, path, package)
    )
    return syntax, tuple(dict.fromkeys(files))


def _find_imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield node.module, alias.name


def _files_of(module: str, name: str, path: Path, package: Path) -> Iterator[Path]:
    """Files that ``from module import name`` runs, where the module belongs to the package."""
    _, *parts = module.split(".")
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
        return
    is_package = inner.is_dir() and inner != package
    if folder != package or not is_package:
        yield folder / "__init__.py"
    if is_package:
        # A package that is imported as such is one whose modules are found by their names.
        yield from sorted(inner.glob("*.py"))
