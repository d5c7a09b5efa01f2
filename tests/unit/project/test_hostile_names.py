"""Names with control characters do nothing to a terminal, a log, or a page."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
import termios
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rasters import write_raster
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_snakeshed as plugin
from snakemake_logger_plugin_snakeshed import LogHandler, screen
from snakeshed.errors import SeveralProblems, TableError, printable
from snakeshed.jobs.log import job_log
from snakeshed.report.page import page

LEFT, TOP = 500_000, 4_000_000
# Colors, the terminal's title, a bell, forged lines, turned writing, what cannot be seen.
HOSTILE = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "c1\x9b2J",
    "bell\x07",
    "back\x08space",
    "two\nlines",
    "12:00:00 over\rwritten",
    "tab\tstop",
    "bidi\u202eevil",
    "iso\u2066late",
    "line\u2028separator",
    "zero\u200bwidth",
    "\udc80surrogate",
]


def harmless(text: str) -> bool:
    return all(
        character.isprintable() or character == "\n" or unicodedata.category(character) == "Zs"
        for character in text
    )


@examples(200)
@given(st.text())
def test_every_text_becomes_printable_and_a_printable_one_stays(text):
    shown = printable(text)
    assert harmless(shown)
    assert "\n" not in shown
    assert printable(shown) == shown
    assert harmless(printable(text, keep="\n"))
    assert printable(text, keep="\n").count("\n") == text.count("\n")
    if text.isprintable():
        assert shown == text


@examples(200)
@given(st.text(), st.sampled_from(["", "\n"]))
def test_the_logger_plugin_writes_the_same_without_the_library(text, keep):
    assert screen.printable(text, keep) == printable(text, keep)


def test_characters_are_written_as_in_python():
    assert printable("a\x1bb\x9b\u202e\udc80\n\0é黄") == "a\\x1bb\\x9b\\u202e\\udc80\\n\\x00é黄"
    # As in the headings of the report.
    assert printable("Snap,\u00a0m and\u202fmore") == "Snap,\u00a0m and\u202fmore"


@pytest.mark.parametrize("name", HOSTILE)
def test_an_error_is_one_line_of_text(name):
    text = str(TableError(name, name, name, name.replace("\n", "")))
    assert text.isprintable()
    assert text.count("found ") == 1
    several = str(
        SeveralProblems([TableError(name, "a", "b", "c"), TableError("d", "e", "f", "g")])
    )
    assert [line[:2] for line in several.splitlines()] == ["- ", "- "]


@pytest.fixture
def no_capture(request):
    """Keep names out of pytest's reports: pytest-xdist cannot send a lone surrogate."""
    handler = request.config.pluginmanager.get_plugin("logging-plugin").report_handler

    def nothing(_: logging.LogRecord) -> bool:
        return False

    handler.addFilter(nothing)
    yield
    handler.removeFilter(nothing)


@pytest.mark.usefixtures("no_capture")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_forges_no_line_of_a_log(name, tmp_path):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit), job_log(str(path), f"preparing {name}") as log:
        log.warning("warning: %s", f"{name} is there twice")
        raise TableError(name, name, "a table", "Correct it.")
    text = path.read_text(encoding="utf-8")
    assert harmless(text)
    assert [line[9:].partition(" ")[0] for line in text.splitlines()] == [
        "preparing",
        "warning:",
        "error:",
    ]


def test_a_traceback_keeps_its_lines(tmp_path):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit), job_log(str(path), "extracting"):
        raise ZeroDivisionError("\x1b[31m")
    text = path.read_text()
    assert harmless(text)
    assert text.count("\n") > 4
    assert text.endswith("ZeroDivisionError: \\x1b[31m\n")


@pytest.mark.usefixtures("no_capture")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_log_that_cannot_be_written_shows_names_on_standard_error(name, tmp_path, capsys):
    with pytest.raises(SystemExit), job_log(str(tmp_path), f"preparing {name} 100 %d"):
        raise TableError(name, name, "a table", "Correct it.")
    told = capsys.readouterr().err
    assert harmless(told)
    assert f"preparing {printable(name)} 100 %d: error: {printable(name)}: found" in told


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_run_shows(name, stream, verbose, monkeypatch, tmp_path):
    # The status line needs a terminal's control characters, so these are cut out.
    shown = stream()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(plugin, "sys", SimpleNamespace(stderr=shown, stdout=None))
    usual = dict.fromkeys(("debug_dag", "stdout", "dryrun"), False) | {"verbose": verbose}
    usual |= {"nocolor": True, "quiet": None, "printshellcmds": False, "show_failed_logs": False}
    handler = LogHandler(SimpleNamespace(**usual), None)

    def tell(message="", level=logging.INFO, **event) -> None:
        handler.emit(
            logging.makeLogRecord(
                {"msg": message, "levelno": level, "levelname": logging.getLevelName(level)} | event
            )
        )

    log = tmp_path / "card.log"
    job = {
        "rule_name": "site_card",
        "rule_msg": None,
        "wildcards": {"site": name},
        "input": [name],
        "output": [f"results/{name}.html"],
        "log": [str(log)],
        "threads": 1,
        "priority": 0,
        "resources": {},
        "benchmark": None,
        "reason": name,
        "is_checkpoint": False,
        "is_handover": False,
        "local": True,
        "indent": False,
        "shellcmd": name,
    }
    tell(f"Study {name}")
    tell(**job, jobid=1, event=LogEvent.JOB_INFO)
    log.write_text("08:00:00 drawing\n08:00:01 error: \x1b[31m: found it.\n", encoding="utf-8")
    tell(name, logging.ERROR, event=LogEvent.ERROR, exception="RuleException")
    tell(**job, jobid=1, event=LogEvent.JOB_ERROR, level=logging.ERROR)
    handler._screen.status(f"jobs of {name}") if not verbose else None
    handler.close()
    text = shown.getvalue()
    assert f"Study {printable(name, keep=chr(10))}" in text
    assert "\\x1b[31m: found it." in text or verbose
    assert harmless(text.replace("\r\x1b[2K", ""))


def on_terminal(folder, *arguments: str) -> str:
    """What a command writes to a terminal, which does not change its line ends."""
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    process = subprocess.Popen(
        [sys.executable, "-m", "snakeshed.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    process.wait()
    return said.decode()


@pytest.fixture
def study(tmp_path) -> dict:
    """A study of which every row, column, and file has a hostile name."""
    ground = np.add.outer(np.arange(60), np.arange(60)).astype(np.float32)
    write_raster(tmp_path / "dem\x1b[31m\u202e.tif", ground)
    rows = [("\x1b[31mcolumn", "x", "y", "row", "geometry")]
    rows += [(name, LEFT + 100, TOP - 100, "a", "b") for name in HOSTILE if "\udc80" not in name]
    # The same place twice over, rows without a place, and an accent in two ways.
    rows += [("e\u0301\x1b", LEFT, TOP, "", ""), ("\u00e9\x1b", LEFT, TOP, "", "")]
    rows += [("\x1b[5m", "\x1b[31m", "\n", "", ""), ("nul\0", LEFT, TOP, "", "")]
    text = "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)
    (tmp_path / "sites\x1b]0;\x07.csv").write_text(text + "\n", encoding="utf-8")
    return {
        "study": "mine",
        "sites": {
            "path": "sites\x1b]0;\x07.csv",
            "crs": "EPSG:32611",
            "columns": {"site_id": "\x1b[31mcolumn", "x": "x", "y": "y"},
        },
        "dem": {"path": "*.tif"},
    }


def test_check_shows_no_control_character(study, tmp_path):
    # The configuration itself may not have them, but a folder and a pattern may.
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    text = on_terminal(tmp_path, "check", "mine.yaml")
    assert "text in one line, without tabs" in text
    assert harmless(text)
    next(tmp_path.glob("*.csv")).rename(tmp_path / "sites.csv")
    table = (tmp_path / "sites.csv").read_text(encoding="utf-8")
    (tmp_path / "sites.csv").write_text(table.replace("\x1b[31mcolumn", "name", 1))
    study["sites"] |= {"path": "sites.csv"}
    study["sites"]["columns"]["site_id"] = "name"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    text = on_terminal(tmp_path, "check", "mine.yaml")
    assert "nothing found that would stop a run" in text
    assert "dem\\x1b[31m\\u202e.tif" in text
    assert "the site_id has a NUL character" in text
    assert harmless(text)
    # A line is one statement, whatever is in it.
    assert all(line[:2] == "  " or line[0].isupper() for line in text.splitlines())
    study["sites"]["columns"]["x"] = "east"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    (tmp_path / "sites.csv").write_text(table)
    assert "'\\x1b[31mcolumn'" in (text := on_terminal(tmp_path, "check", "mine.yaml"))
    assert harmless(text)


def test_summary_and_verify_show_no_control_character(tmp_path):
    for name in HOSTILE[:4]:
        text = on_terminal(tmp_path, "summary", f"results/{name}")
        assert "no file" in text
        assert harmless(text)
    text = on_terminal(tmp_path, "verify", "\x1b[31m.zip")
    assert "\\x1b[31m.zip" in text
    assert harmless(text)
    text = on_terminal(tmp_path, "check", "\x1b[31m.yaml", "\x1b[5m")
    assert "unrecognized arguments" in text
    assert harmless(text)


def test_a_page_shows_what_cannot_be_seen(monkeypatch, tmp_path):
    monkeypatch.setattr("snakeshed.report.page._FOLDER", tmp_path)
    (tmp_path / "page.css").write_text("p {}\n")
    (tmp_path / "x.css").write_text("")
    (tmp_path / "x.html").write_text(
        "{{ style }}<p title='{{ name }}'>{{ name }}</p>{{ data|tojson }}"
    )
    for name in HOSTILE:
        made = page("x", {"name": name, "data": [name]})
        assert harmless(made)
        assert json.loads(made.rpartition("</p>")[2]) == [name]
        assert printable(name, keep="\n") in made


def test_a_file_whose_name_is_no_text_is_named(study, tmp_path):
    (tmp_path / os.fsdecode(b"dem\xff.tif")).write_bytes(b"")
    study["sites"] |= {"path": "sites.csv"}
    study["sites"]["columns"]["site_id"] = None
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    text = on_terminal(tmp_path, "check", "mine.yaml")
    assert "dem\\udcff.tif: found " in text
    assert "Traceback" not in text
    assert harmless(text)
