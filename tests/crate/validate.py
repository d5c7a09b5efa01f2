"""What roc-validator says of a crate, for a Python that has it.

validate.py CRATE CONTEXT. It asks w3id.org for two JSON-LD contexts; here they come from the disk,
and nothing else is asked for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import rdflib.plugins.parsers.jsonld
import rdflib.plugins.shared.jsonld.context
import requests
import requests_cache
import rocrate_validator.utils.document_loader
from rocrate_validator import models, services

PROFILES = (
    "ro-crate-1.1",
    "workflow-ro-crate-1.0",
    "process-run-crate-0.5",
    "workflow-run-crate-0.5",
)
RUN_TERMS = "https://w3id.org/ro/terms/workflow-run#"
# Terms of that context that a crate of ours may have.
NAMES = ("containerImage", "ContainerImage", "DockerImage", "registry", "tag", "sha256")
RUN_CONTEXT = {name: RUN_TERMS + name for name in NAMES}


def contexts(path: str) -> dict[str, dict]:
    """The contexts by their addresses; `path` has that of RO-Crate, as rocrate brings it along."""
    terms = json.loads(Path(path).read_text(encoding="utf-8"))["@context"]
    # That of RO-Crate 1.1, which the profiles of 0.5 are written for.
    terms["ComputationalWorkflow"] = "https://bioschemas.org/ComputationalWorkflow"
    return {
        "https://w3id.org/ro/crate/1.1/context": {"@context": terms},
        "https://w3id.org/ro/terms/workflow-run/context": {"@context": RUN_CONTEXT},
    }


def serve(known: dict[str, dict]) -> None:
    """Answer every request from what is known."""
    read = rdflib.plugins.shared.jsonld.context.source_to_json

    def source_to_json(source, *arguments, **options):
        if isinstance(source, str) and source.startswith("http"):
            return known[source], None
        return read(source, *arguments, **options)

    def request(session, method, url, **_):
        answer = requests.Response()
        answer.status_code, answer.url = 200, url
        answer.headers["Content-Type"] = "application/ld+json"
        answer._content = json.dumps(known[url]).encode()
        return answer

    rdflib.plugins.shared.jsonld.context.source_to_json = source_to_json
    rdflib.plugins.parsers.jsonld.source_to_json = source_to_json
    rocrate_validator.utils.document_loader._original_source_to_json = source_to_json
    requests.Session.request = requests_cache.CachedSession.request = request


def main(crate: str, context: str) -> None:
    """Print what is wrong: profile, severity, check and message of each issue."""
    serve(contexts(context))
    found = []
    for profile in PROFILES:
        settings = models.ValidationSettings(
            rocrate_uri=crate,
            profile_identifier=profile,
            requirement_severity=models.Severity.RECOMMENDED,
        )
        found += [
            [profile, issue.severity.name, issue.check.identifier, issue.check.name, issue.message]
            for issue in services.validate(settings).get_issues()
        ]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
