"""Every module of the library has a user, and no file reaches into the private names of another."""

from __future__ import annotations

import ast
import re

from snakeshed.jobs.digest import PACKAGE, imported_modules

SCRIPTS = PACKAGE.parent
CHECKOUT = SCRIPTS.parent


def test_every_module_is_reached_from_a_rule_the_command_line_or_grid():
    rules = "\n".join(path.read_text() for path in (CHECKOUT / "rules").glob("*.smk"))
    named = re.findall(r"^ *from snakeshed\.([\w.]+) import", rules, re.MULTILINE)
    starts = [PACKAGE.joinpath(*name.split(".")).with_suffix(".py") for name in named]
    starts += [*SCRIPTS.glob("*.py"), PACKAGE / "cli.py", PACKAGE / "__init__.py"]
    reached = set(starts).union(*map(imported_modules, starts))
    modules = {path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    unreached = sorted(str(path.relative_to(PACKAGE)) for path in modules - reached)
    assert not unreached, f"no rule, command, or method of Grid uses {', '.join(unreached)}"


def test_no_file_imports_a_private_name_of_another():
    found = [
        f"{path.relative_to(SCRIPTS)}: {node.module}.{alias.name}"
        for path in SCRIPTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("snake")
        for alias in node.names
        if re.match(r"_[a-zA-Z]", alias.name)
    ]
    assert not found


def test_rule_scripts_take_what_they_read_by_keyword():
    for path in SCRIPTS.glob("*.py"):
        (main,) = (
            node
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name == "main"
        )
        assert not main.args.args, f"{path.name}: main takes arguments by position"


def test_packages_hold_nothing_but_a_docstring():
    """Snakemake imports them at every start."""
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            (only,) = ast.parse(path.read_text()).body
            assert isinstance(only, ast.Expr), path
