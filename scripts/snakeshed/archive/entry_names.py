"""Names of files in an archive: which are safe, and how they are shown.

An archive of a stranger can be unpacked on any system, so a name has to mean the same file on each
of them, and no name may reach a terminal as it stands.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

# Most file systems take 255 bytes for a part; PATH_MAX is 4096 with the scratch folder.
_LONGEST_PART, _LONGEST = 255, 2048
# Control, format (such as direction marks), surrogate, and line separator characters.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\Z", re.IGNORECASE)
# Ordinary within words of Persian and of Indian languages; some file systems ignore them.
_JOINERS = {ord("\u200c"): None, ord("\u200d"): None}
_MOST_SHOWN = 200


def shown(text: object) -> str:
    """Escape characters of a text that are not printable, and shorten it, for a terminal."""
    text = str(text)
    plain = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text[:_MOST_SHOWN]
    )
    return f"{plain} …" if len(text) > _MOST_SHOWN else plain


def quoted(name: str) -> str:
    """Return a name in quotes for a terminal, as `shown` does."""
    return repr(name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]} …")


def unsafe(name: str) -> str:
    """Say why a name must not be used as a path below a folder.

    Parameters
    ----------
    name : str
        Parts separated by ``/``.

    Returns
    -------
    str
        The reason, to follow the name in a message; empty if the name is safe.
    """
    parts = name.split("/")
    # Look-alikes of dots and slashes count as these: the character a/c (U+2100) has a slash.
    alike = unicodedata.normalize("NFKC", name.translate(_JOINERS)).split("/")
    if (
        re.search(r"[\\:]", name)
        or len(alike) != len(parts)
        or any(part in {"", ".", ".."} for part in (*parts, *alike))
    ):
        return "which leaves its folder or has no plain name"
    if any(unicodedata.category(each) in _INVISIBLE for each in name.translate(_JOINERS)):
        return "which contains control characters or direction marks"
    if len(name.encode()) > _LONGEST or any(len(part.encode()) > _LONGEST_PART for part in parts):
        return "which is too long for a file name"
    return ""


def unportable(name: str) -> str:
    """Say why a name, which is safe here, names another file or a device on another system.

    Parameters
    ----------
    name : str
        Parts separated by ``/``.

    Returns
    -------
    str
        The reason, to follow the name in a message; empty if there is none.
    """
    for part in name.split("/"):
        if part.endswith((".", " ")):
            return "which ends in a dot or blank, so Windows changes it"
        if _DEVICE.match(part.split(".")[0].rstrip(" ")):
            return "which is a device on Windows"
    return ""


def collisions(names: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with names that are unpacked into the same folder.

    Names collide if they differ only by case or by the Unicode form of their characters, since
    some file systems take them for one file. A file cannot be a folder as well.

    Parameters
    ----------
    names : iterable of str
        Names of files. A folder can be among them, with a ``/`` at the end.

    Yields
    ------
    str
        A name with the reason.
    """
    spelled: dict[str, str] = {}
    given, files, folders = set(), set(), set()
    for name in names:
        bare = name.removesuffix("/")
        key, at, is_folder = folded(bare), bare.rfind("/"), bare != name
        first = spelled.setdefault(key, bare)
        if first != bare:
            yield f"{quoted(name)} twice: {quoted(first)} is the same name on some systems"
            continue
        if key in given or (key in folders and not is_folder):
            yield f"{quoted(name)} twice"
            continue
        given.add(key)
        (folders if is_folder else files).add(key)
        while at >= 0:
            parent = bare[:at]
            key, at = folded(parent), parent.rfind("/")
            first = spelled.setdefault(key, parent)
            if first != parent:
                yield f"{quoted(name)} twice: its folder is {quoted(first)} on some systems"
            elif key in files:
                yield f"{quoted(name)} within the file {quoted(first)}"
            elif key not in folders:
                folders.add(key)
                continue
            break


def folded(name: str) -> str:
    """Return a name as file systems compare it that ignore case, Unicode forms, and joiners."""
    if name.isascii():
        return name.lower()
    plain = unicodedata.normalize("NFD", name.translate(_JOINERS))
    return unicodedata.normalize("NFC", plain.casefold())
