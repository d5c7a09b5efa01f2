"""The values that a user sets in profiles/nautilus/kustomization.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snakeshed.errors import KubernetesError

FOLDER = "profiles/nautilus"
FILE = f"{FOLDER}/kustomization.yaml"
# What stands there before anybody has set it.
_EXAMPLE_NAMESPACE = "my-namespace"
_EXAMPLE_REGISTRY = "registry.example.org"


@dataclass(frozen=True)
class Manifests:
    """What the manifests say.

    Attributes
    ----------
    namespace, image : str
    """

    namespace: str
    image: str


def read_manifests() -> Manifests:
    """Read the values of the checkout in the working directory.

    Raises
    ------
    KubernetesError
        This is no checkout, or a value is missing or still that of the example.
    """
    if not Path("Snakefile").is_file() or not Path(FILE).is_file():
        raise KubernetesError(
            str(Path.cwd()),
            f"no Snakefile or no {FILE}",
            "the checkout of snakeshed, which is copied to the cluster",
            "Change to its folder, and run the same command again.",
        )
    try:
        settings = yaml.safe_load(Path(FILE).read_text(encoding="utf-8"))
        namespace = settings.get("namespace")
        images = [one for one in settings.get("images", []) if one["name"] == "snakeshed"]
    except (yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise KubernetesError(
            FILE,
            f"something else than a kustomization ({reason})",
            "YAML with the keys namespace and images",
            "Correct it; git diff shows what has changed.",
        ) from None
    if not namespace or namespace == _EXAMPLE_NAMESPACE:
        raise _unset("namespace", namespace, "your namespace in the cluster")
    name = images[0].get("newName") if images else None
    if not name or str(name).startswith(_EXAMPLE_REGISTRY):
        raise _unset(
            "images[0].newName",
            name,
            "the image that you have built from envs/Dockerfile and pushed",
        )
    return Manifests(str(namespace), f"{name}:{images[0].get('newTag', 'latest')}")


def _unset(key: str, found: Any, expected: str) -> KubernetesError:
    return KubernetesError(
        f"{FILE}: {key}",
        "nothing" if not found else f"the example {found}",
        expected,
        "Set the three marked values (namespace, image, storage class with size).",
    )
