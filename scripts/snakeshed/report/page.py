"""Pages: one file of HTML with all that it needs, safe to open whatever names its sites have."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from snakeshed.errors import printable

_FOLDER = Path(__file__).parent / "pages"
# Style of all pages; each has more of its own.
_STYLE = "page.css"
# Charts of several pages.
_CHARTS = "line_charts"


def page(name: str, values: Mapping, parts: Sequence[str] = ()) -> str:
    """Fill a template of the folder ``pages``.

    Values are escaped, and the browser is told to run and load nothing but what the template
    brings, so that no value can become code. Invisible characters of values are written out.

    Parameters
    ----------
    name : str
        ``<name>.html``, with ``<name>.css`` and, where it has a script, ``<name>.js`` beside it.
    values : mapping
        What the template's names stand for.
    parts : sequence of str
        More styles and scripts: ``<part>.css`` and, where it has one, ``<part>.js``. Their scripts
        run before the page's own.
    """
    import jinja2
    from markupsafe import Markup

    style = _text(_STYLE) + "".join(_text(f"{each}.css") for each in (name, *parts))
    scripts = [f"{each}.js" for each in (*parts, name)]
    script = "".join(_text(each) for each in scripts if (_FOLDER / each).is_file())
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "fixed": fixed, "percent": percent, "words": words}
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template(f"{name}.html")
    return template.render(
        values, style=Markup(style), script=Markup(script), policy=policy
    )  # the two are ours, and hold no value


def page_digest(name: str) -> str:
    """Digest of a page's templates, styles and scripts, for Snakemake to notice a change."""
    digest = hashlib.sha256()
    patterns = (_STYLE, f"{name}.*", f"{name}_*", f"{_CHARTS}.*")
    for path in sorted(path for pattern in patterns for path in _FOLDER.glob(pattern)):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def number(value: float | None, digits: int = 3) -> str:
    """Write a number for people: significant digits, no exponent, a dash for None or NaN."""
    if value is None or math.isnan(value):
        return "–"
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    # The exponent of the rounded number: 0.9996 is 1.00, not 1.000.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    decimals = digits - 1 - exponent
    return fixed(round(value, decimals), max(0, decimals))


def fixed(value: float | None, decimals: int) -> str:
    """Write a number for people with so many decimals, a dash for None or NaN."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.{decimals}f}".replace("-", "−")


def percent(part: float, whole: float = 1) -> str:
    """Write a share as a whole per cent; small ones are not nothing, and large ones not all."""
    share = 100 * part / whole if whole else 0
    if 0 < share < 1:
        return "< 1 %"
    if 99 < share < 100:
        return "> 99 %"
    return f"{share:.0f} %"


def words(name: str) -> str:
    """Write a status or a confidence for people: ``outside_dem`` as ``outside DEM``."""
    return name.replace("_", " ").replace("dem", "DEM")


def _visible(value: object) -> object:
    """Return a text without characters that hide or turn what follows; markup of ours as it is."""
    return printable(value, keep="\n") if type(value) is str else value


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
