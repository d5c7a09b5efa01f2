"""The digest changes with what a module does, and with nothing else."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from snakeshed.jobs.digest import (
    PACKAGE,
    KeptSyntax,
    Syntax,
    imported_modules,
    package_digest,
    script_digest,
)

SCRIPTS = PACKAGE.parent

SLOPE = '''"""Slopes."""

from pack import units
from pack.deep.sums import add


def slope(rise, run=2.0):
    """Rise over run."""
    # A comment.
    return add(rise, 0) / run if rise in {"a", "b", 3} else units.FOOT
'''


SCRIPT = "from pack.slope import slope\n\nslope(1)\n"


def package(folder, **changes: str) -> Path:
    """A package in which `slope` imports `units` and `deep.sums`, and nothing `alone`."""
    files = {
        "__init__": "",
        "slope": SLOPE,
        "units": "FOOT = 0.3048\n",
        "deep/__init__": "",
        "deep/sums": "def add(a, b):\n    return a + b\n",
        "alone": "VALUE = 1\n",
    } | {name.replace("_in_", "/"): text for name, text in changes.items()}
    root = folder / "pack"
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def digest_of(tmp_path_factory):
    """Digest of a script's imports where some files are changed; each in a folder of its own."""

    def digest(script: str = SCRIPT, **changes: str) -> str:
        folder = tmp_path_factory.mktemp("p")
        (folder / "script.py").write_text(script)
        return script_digest(folder / "script.py", package(folder, **changes))

    return digest


def test_the_folder_does_not_matter(digest_of):
    assert digest_of() == digest_of()
    assert len(digest_of()) == 16


@pytest.mark.parametrize(
    "text",
    [
        SLOPE.replace("# A comment.", "# Another comment,\n    # of two lines."),
        SLOPE.replace("Rise over run.", "How steep it is."),
        SLOPE.replace('"""Slopes."""', ""),
        SLOPE.replace('    """Rise over run."""\n', ""),
        SLOPE.replace("\n\n\n", "\n\n\n\n\n"),
        SLOPE.replace("add(rise, 0)", "add(\n        rise,\n        0,\n    )"),
    ],
)
def test_words_and_lines_change_nothing(digest_of, text):
    assert text != SLOPE
    assert digest_of(slope=text) == digest_of()


@pytest.mark.parametrize(
    "text",
    [
        SLOPE.replace("/ run", "* run"),
        SLOPE.replace("run=2.0", "run=2.5"),
        SLOPE.replace('"b", 3', '"b", 4'),
        SLOPE.replace("units.FOOT", "units.YARD"),
        SLOPE + "\nslope = None\n",
        SLOPE.replace("add(rise, 0)", "add(rise, 0.0)"),
    ],
)
def test_behavior_changes_it(digest_of, text):
    assert digest_of(slope=text) != digest_of()


def test_so_does_the_behavior_of_what_is_imported_and_of_nothing_else(digest_of):
    assert digest_of(units="FOOT = 0.3\n") != digest_of()
    assert digest_of(deep_in_sums="def add(a, b):\n    return b + a\n") != digest_of()
    assert digest_of(deep_in___init__="import pack.alone\n") != digest_of()
    assert digest_of(alone="VALUE = 2\n") == digest_of()
    assert digest_of(__init__="__version__ = '2'\n") == digest_of()


@pytest.mark.parametrize(
    "line",
    [
        "from pack import alone",
        "from pack.alone import VALUE",
        "import pack.alone",
        "import pack.alone as other",
        "import os, pack.alone",
        "from pack import units, alone",
        "def later():\n    from pack.alone import VALUE",
    ],
)
def test_every_way_to_import_counts(digest_of, line):
    before, after = (digest_of(SCRIPT + line, alone=f"VALUE = {n}\n") for n in (1, 2))
    assert before != after


@pytest.mark.parametrize(
    "line", ["import pack.deep", "from pack import deep", "import pack.deep as other"]
)
def test_a_package_that_is_imported_as_such_counts_with_all_its_modules(digest_of, line):
    before, after = (digest_of(SCRIPT + line, deep_in_other=f"N = {n}\n") for n in (1, 2))
    assert before != after
    before, after = (digest_of(SCRIPT, deep_in_other=f"N = {n}\n") for n in (1, 2))
    assert before == after


def test_the_script_itself_is_snakemakes_to_watch(digest_of):
    assert digest_of(SCRIPT + "print()\n") == digest_of()


def test_a_module_that_does_not_exist_is_named(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from pack.slopes import slope\n")
    with pytest.raises(ImportError, match=r"script\.py imports pack\.slopes, which does not exist"):
        script_digest(script, package(tmp_path))


def test_every_process_has_the_same_digest():
    code = (
        "from snakeshed.jobs.digest import package_digest, script_digest;"
        f"print(script_digest({str(SCRIPTS / 'delineate.py')!r}), package_digest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": str(SCRIPTS), "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("0", "4711")
    }
    assert seen == {f"{script_digest(SCRIPTS / 'delineate.py')} {package_digest()}"}


def test_a_changed_line_in_any_module_concerns_exactly_the_rules_that_import_it(tmp_path):
    """Grimp, which import-linter uses, reads the imports independently of `jobs.digest`."""
    copy = tmp_path / "scripts"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SCRIPTS / "snakeshed", copy / "snakeshed", ignore=ignore)
    graph = grimp.build_graph("snakeshed", cache_dir=None)
    rules = sorted(SCRIPTS.glob("*.py"))
    reached = {}
    for rule in rules:
        direct = {
            name
            for node in ast.walk(ast.parse(rule.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module.startswith("snakeshed.")
            for name in (node.module, f"{node.module}.{node.names[0].name}")
            if name in graph.modules
        }
        found = direct.union(*(graph.find_upstream_modules(name) for name in direct))
        # What imports a package as such finds its modules by their names.
        packages = found - {"snakeshed"}
        by_name = {child for name in packages for child in graph.find_children(name)}
        reached[rule.name] = found.union(by_name, *map(graph.find_upstream_modules, by_name))
    before = {rule.name: script_digest(rule, copy / "snakeshed") for rule in rules}
    for path in sorted((copy / "snakeshed").rglob("*.py")):
        name = ".".join(path.relative_to(copy).with_suffix("").parts)
        if path.name == "__init__.py":
            continue
        text = path.read_text()
        path.write_text(f"{text}\nCHANGED = True\n")
        changed = {
            rule.name
            for rule in rules
            if script_digest(rule, copy / "snakeshed") != before[rule.name]
        }
        path.write_text(text)
        assert changed == {rule for rule, modules in reached.items() if name in modules}, name
    assert "delineate.py" in {
        rule for rule, modules in reached.items() if "snakeshed.delineation.site" in modules
    }


def test_layers_do_not_concern_the_delineation():
    modules = imported_modules(SCRIPTS / "delineate.py")
    names = {path.relative_to(PACKAGE).as_posix() for path in modules}
    assert {"delineation/site.py", "grid/snap.py", "kernels/snapping.py"} <= names
    assert not {name for name in names if name.startswith(("features/", "study/", "report/"))}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Make what is kept in a file, and count the files that are parsed from now on."""
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda content: parsed.append(content) or parse(content))

    def make() -> tuple[KeptSyntax, list[bytes]]:
        parsed.clear()
        return KeptSyntax(tmp_path / "kept/syntax.json"), parsed

    return make


def digest_with(kept: KeptSyntax, folder: Path, **changes: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    return script_digest(folder / "script.py", package(folder, **changes), kept)


def test_what_is_kept_on_disk_is_not_parsed_again(digest_of, kept, tmp_path):
    first, parsed = kept()
    assert digest_with(first, tmp_path / "a") == digest_of()
    assert len(parsed) > 3
    again, parsed = kept()
    assert digest_with(again, tmp_path / "b") == digest_of()
    assert len(parsed) == 5, "all of them for the digest without what is kept"


def test_only_a_file_that_has_changed_is_parsed(digest_of, kept, tmp_path):
    digest_with(kept()[0], tmp_path / "a")
    expected = digest_of(units="FOOT = 0.3\n")
    again, parsed = kept()
    assert digest_with(again, tmp_path / "b", units="FOOT = 0.3\n") == expected
    assert parsed == [b"FOOT = 0.3\n"]
    last, parsed = kept()
    assert digest_with(last, tmp_path / "c", units="FOOT = 0.3\n") == expected
    assert not parsed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-5],
        lambda text: text.replace("alone", "alike"),
        lambda text: text.partition("\n")[2],
        lambda text: "\0\xff" + text,
    ],
)
def test_what_is_damaged_on_disk_counts_as_not_there(digest_of, kept, tmp_path, spoil):
    imports_alone = {"units": "import pack.alone\n\nFOOT = 0.3048\n"}
    digest_with(kept()[0], tmp_path / "a", **imports_alone)
    file = tmp_path / "kept/syntax.json"
    before = file.read_text()
    assert "alone" in before
    file.write_text(spoil(before), encoding="latin-1")
    again, parsed = kept()
    digest_with(again, tmp_path / "b", **imports_alone)
    assert parsed
    assert file.read_text() == before
    assert digest_with(kept()[0], tmp_path / "c", **imports_alone) == digest_of(**imports_alone)


def test_what_another_python_has_kept_is_not_used(kept, tmp_path, monkeypatch):
    digest_with(kept()[0], tmp_path / "a")
    monkeypatch.setattr(sys, "version", "4.0.0")
    again, parsed = kept()
    digest_with(again, tmp_path / "b")
    assert len(parsed) > 3


def test_a_folder_that_cannot_be_written_keeps_nothing(digest_of, tmp_path):
    (tmp_path / "file").touch()
    kept = KeptSyntax(tmp_path / "file/syntax.json")
    assert digest_with(kept, tmp_path / "a") == digest_of()


def test_kept_syntax_is_that_of_the_file_itself(kept):
    first, _ = kept()
    contents = [path.read_bytes() for path in sorted(PACKAGE.glob("*/*.py"))]
    expected = list(map(Syntax.of, contents))
    assert list(map(first.of, contents)) == expected
    first.save()
    assert list(map(kept()[0].of, contents)) == expected


def test_the_digest_of_all_modules_changes_with_each_name_and_content(tmp_path):
    (tmp_path / "grid").mkdir()
    seen = set()
    for name, content in (("a.py", "x = 1"), ("a.py", "x = 1  # m"), ("grid/a.py", "x = 1")):
        (tmp_path / name).write_text(content)
        seen.add(package_digest(tmp_path))
    (tmp_path / "grid/a.py").rename(tmp_path / "grid/b.py")
    seen.add(package_digest(tmp_path))
    assert len(seen) == 4
