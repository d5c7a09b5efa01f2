"""Addresses of files as they may be shown: without passwords and signatures."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from snakeshed.errors import TransferError


def shown(address: str) -> str:
    """Return an address without user, password, and query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address.partition("?")[0].rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def host(address: str) -> str:
    """Return the host of an address, with its port."""
    return urlsplit(address).netloc.rpartition("@")[2]


def check_address(address: str) -> None:
    """Refuse what is no address of a file on the web.

    Raises
    ------
    TransferError
        It has another scheme than http and https, or no host.
    """
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise TransferError(
            shown(address) if "//" in address else address,
            "no address of a file on the web",
            "http:// or https:// and a host",
            "Correct it.",
        )
