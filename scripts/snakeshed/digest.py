"""The digest of a library module's behaviour, for Snakemake to notice that it changed.

Snakemake sees a change in a rule's script, not in the library that it calls. Each rule therefore
has the digest of the modules it depends on as a parameter. It is taken over compiled code without
line numbers, docstrings and comments: rewording a comment re-runs nothing.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType

PACKAGE = Path(__file__).parent


def library_digest(*modules: str, package: Path = PACKAGE) -> str:
    """Digest of some modules of the library and of all those of it that they import.

    Parameters
    ----------
    *modules : str
        Dotted names without the package's own, for example ``"delineate"``.
    package : Path
        Folder of the package.

    Returns
    -------
    str
        16 hexadecimal digits. It depends on Python's minor version, as compiled code does.
    """
    digest = hashlib.sha256()
    for path in sorted(_closure(modules, package)):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(_behaviour(path).encode())
    return digest.hexdigest()[:16]


def _closure(modules: tuple[str, ...], package: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [_path_of(module, package) for module in modules]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path, package)
            # Importing a module runs its folder's __init__ first. That of the whole package only
            # has the version, which changes no result.
            init = path.parent / "__init__.py"
            if path.parent != package and init.is_file():
                waiting.append(init)
    return found


def _path_of(module: str, package: Path) -> Path:
    base = package.joinpath(*module.split(".")) if module else package
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    if not path.is_file():
        raise ValueError(f"{module!r} is not a module of {package.name}")
    return path


@cache
def _imported(path: Path, package: Path) -> tuple[Path, ...]:
    return tuple(_find_imports(ast.parse(path.read_bytes()), package))


def _find_imports(tree: ast.Module, package: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _own(alias.name, package)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                # "from snakeshed import dem" names a module, "from snakeshed.dem import Terrain"
                # a name inside one.
                inner = _own(f"{node.module}.{alias.name}", package)
                yield from inner or _own(node.module, package)


def _own(name: str, package: Path) -> list[Path]:
    """File of a module of the package, by its whole name; none if it is not one."""
    first, _, module = name.partition(".")
    if first != package.name:
        return []
    try:
        return [_path_of(module, package)]
    except ValueError:
        return []


@cache
def _behaviour(path: Path) -> str:
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            # The compiler, too, can leave docstrings out, but not the trace that there is one.
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    tree = ast.fix_missing_locations(tree)
    code = compile(tree, path.name, "exec", dont_inherit=True, optimize=2)
    return "\n".join(_lines(code))


def _lines(code: CodeType) -> Iterator[str]:
    yield f"{code.co_name} {code.co_flags} {code.co_argcount} {code.co_kwonlyargcount}"
    yield f"{code.co_varnames} {code.co_names} {code.co_freevars} {code.co_cellvars}"
    yield code.co_code.hex()
    yield code.co_exceptiontable.hex()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _lines(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)
