"""The description of an archive for machines; tests/crate has it judged by others."""

from __future__ import annotations

import json

import pytest

from snakeshed.archive.crate import crate_metadata

FILES = {"workflow/Snakefile": 10, "README.md": 5, "a.csv": 3}
DATES = ("2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00")


def things(image: str | None) -> dict[str, dict]:
    told = crate_metadata("tiny", FILES, ["a.csv"], ["a.csv"], *DATES, {}, image)
    return {each["@id"]: each for each in json.loads(told)["@graph"]}


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("snakeshed", {"registry": "docker.io", "name": "snakeshed"}),
        ("me/snakeshed:1", {"registry": "docker.io", "name": "me/snakeshed", "tag": "1"}),
        ("localhost/a:2", {"registry": "localhost", "name": "a", "tag": "2"}),
        ("host:5000/a", {"registry": "host:5000", "name": "a"}),
        (
            "ghcr.example/me/a:1@sha256:0f",
            {"registry": "ghcr.example", "name": "me/a", "tag": "1", "sha256": "0f"},
        ),
    ],
)
def test_the_image_is_told_in_parts(reference, parts):
    told = things(reference)
    assert told["#run"]["containerImage"] == {"@id": "#image"}
    image = told["#image"]
    assert {
        key: image[key] for key in ("registry", "name", "tag", "sha256") if key in image
    } == parts


def test_without_a_container_none_is_told():
    told = things(None)
    assert "#image" not in told
    assert "containerImage" not in told["#run"]
