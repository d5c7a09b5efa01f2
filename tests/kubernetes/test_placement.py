"""Placement: where the pods of each rule run, and what is said about a file that cannot be used."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts, Run, manifest
from snakemake_executor_plugin_kubernetes_pvc.placement import (
    Placement,
    check_rules,
    placement_of,
    placement_of_all,
    read_placement,
)
from snakemake_executor_plugin_kubernetes_pvc.settings import (
    ExecutorSettings,
    parse_annotations,
    parse_queue,
    parse_tolerations,
)

FILE = """
every-rule:
  annotations: {team: water}
  nodeSelector: {kubernetes.io/arch: amd64}
rules:
  delineate:
    nodeSelector: {size: large}
    tolerations: [{key: large, operator: Exists, effect: NoSchedule}]
    priorityClassName: high
    annotations: {team: fire, note: "1"}
    queue: large
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms:
            - matchExpressions: [{key: zone, operator: In, values: [west]}]
  report:
"""
FOR_ALL = ExecutorSettings(
    claim="shared",
    mount_path="/data",
    node_selector={"zone": "west"},
    tolerations=parse_tolerations(["slow:NoSchedule"]),
    priority_class="low",
    annotations={"project": "snakes"},
    queue="small",
)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a file of placements with some text."""
    monkeypatch.chdir(tmp_path)

    def read(text: str) -> dict:
        (tmp_path / "placement.yaml").write_text(text, encoding="utf-8")
        return read_placement("placement.yaml")

    return read


def made(settings: ExecutorSettings, rule: str = "delineate", **more) -> dict:
    facts = JobFacts(rule, 1, 1, "run", "/data", 1, **more)
    return manifest(facts, settings, Run("w", "r", "image:1"), 1)


def test_what_a_rule_has_of_its_own_is_added_to_what_all_have(read):
    settings = dataclasses.replace(FOR_ALL, placement=read(FILE))
    large = placement_of("delineate", settings)
    assert large.pod_fields == {
        "nodeSelector": {"zone": "west", "kubernetes.io/arch": "amd64", "size": "large"},
        "tolerations": [
            {"operator": "Exists", "key": "slow", "effect": "NoSchedule"},
            {"operator": "Exists", "key": "large", "effect": "NoSchedule"},
        ],
        "priorityClassName": "high",
        "affinity": yaml.safe_load(FILE)["rules"]["delineate"]["affinity"],
    }
    assert dict(large.annotations) == {"project": "snakes", "team": "fire", "note": "1"}
    assert large.queue == "large"
    other = placement_of("gather", settings)
    assert other.pod_fields["nodeSelector"] == {"zone": "west", "kubernetes.io/arch": "amd64"}
    assert dict(other.annotations) == {"project": "snakes", "team": "water"}
    assert (other.pod_fields["priorityClassName"], other.queue) == ("low", "small")
    assert "affinity" not in other.pod_fields


def test_only_rules_that_run_at_the_same_place_may_share_a_job(read):
    settings = dataclasses.replace(FOR_ALL, placement=read(FILE))
    gather, report, delineate = (
        placement_of(rule, settings) for rule in ("gather", "report", "delineate")
    )
    assert gather == report != delineate
    assert len({gather, report, delineate}) == 2
    assert placement_of_all(["report", "gather", "gather"], settings) == gather
    with pytest.raises(WorkflowError) as raised:
        made(settings, "batch", rules=("gather", "delineate"))
    assert str(raised.value) == (
        "Rules delineate and gather run in one Job, but have different placements: give both the "
        "same in placement.yaml, or take them apart (--groups)."
    )


def test_a_job_runs_where_its_rules_do_whatever_it_is_called(read):
    settings = dataclasses.replace(FOR_ALL, placement=read(FILE))
    named, batch = made(settings), made(settings, "batch", rules=("delineate", "delineate"))
    assert named["spec"] == {
        **batch["spec"],
        "template": {
            **batch["spec"]["template"],
            "metadata": named["spec"]["template"]["metadata"],
        },
    }
    for one in (named, batch):
        pod = one["spec"]["template"]
        assert pod["spec"]["priorityClassName"] == "high"
        assert pod["spec"]["affinity"]["nodeAffinity"]
        assert pod["metadata"]["annotations"] == one["metadata"]["annotations"]
        assert one["metadata"]["annotations"]["team"] == "fire"


def test_without_settings_a_manifest_says_nothing_of_a_place():
    settings = ExecutorSettings(claim="shared", mount_path="/data")
    assert placement_of("delineate", settings) == Placement()
    one = made(settings)
    assert "annotations" not in one["metadata"]
    assert "annotations" not in one["spec"]["template"]["metadata"]
    assert "suspend" not in one["spec"]


def test_a_job_in_a_queue_is_suspended_until_kueue_admits_it():
    one = made(FOR_ALL)
    assert one["spec"]["suspend"] is True
    assert one["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "small"
    # A pod with this label would be queued for itself.
    assert "kueue.x-k8s.io/queue-name" not in one["spec"]["template"]["metadata"]["labels"]


def test_kubernetes_knows_every_field(read):
    validate = pytest.importorskip("kubernetes_validate").validate
    validate(made(dataclasses.replace(FOR_ALL, placement=read(FILE))), "1.33", strict=True)


def test_a_file_may_be_empty(read):
    assert read("# nothing yet\n") == {"file": "placement.yaml", "every-rule": {}, "rules": {}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- delineate", "placement.yaml: ['delineate'] was found where a mapping with the keys "
         "every-rule, rules is expected."),
        ("rule: {}", "placement.yaml: there is no key 'rule'; do you mean rules?"),
        ("rules: [delineate]", "placement.yaml: rules: ['delineate'] was found where names of "
         "rules, each with its fields below it is expected."),
        ("rules: {delineate: {nodeselector: {}}}", "placement.yaml: rules: delineate: there is no "
         "key 'nodeselector'; do you mean nodeSelector?"),
        ("rules: {delineate: {x: 1}}", "placement.yaml: rules: delineate: there is no key 'x'; "
         "known are nodeSelector, affinity, tolerations, priorityClassName, annotations, queue."),
        ("rules: {a: {nodeSelector: [zone=west]}}", "placement.yaml: rules: a: nodeSelector: "
         "['zone=west'] was found where a mapping of labels is expected."),
        ("rules: {a: {nodeSelector: {gpus: 2}}}", "placement.yaml: rules: a: nodeSelector: gpus: 2 "
         "was found where text (in quotes, if it is a number) is expected."),
        ("rules: {a: {nodeSelector: {zone: far west}}}", "placement.yaml: rules: a: nodeSelector: "
         "zone: 'far west' was found where a value of labels is expected."),
        ("every-rule: {annotations: {a b: c}}", "placement.yaml: every-rule: annotations: 'a b' "
         "was found where a name of annotations is expected."),
        ("every-rule: {affinity: {node: {}}}", "placement.yaml: every-rule: affinity: there is no "
         "key 'node'; do you mean nodeAffinity?"),
        ("every-rule: {affinity: {nodeAffinity: west}}", "placement.yaml: every-rule: affinity: "
         "nodeAffinity: 'west' was found where a mapping as in the manifest of a pod is "
         "expected."),
        ("every-rule: {tolerations: slow}", "placement.yaml: every-rule: tolerations: 'slow' was "
         "found where a list of tolerations is expected."),
        ("every-rule: {tolerations: [slow]}", "placement.yaml: every-rule: tolerations: 1: 'slow' "
         "was found where a mapping with the keys key, operator, value, effect, "
         "tolerationSeconds is expected."),
        ("every-rule: {tolerations: [{effect: Never}]}", "placement.yaml: every-rule: tolerations: "
         "1: effect: 'Never' was found where NoSchedule or PreferNoSchedule or NoExecute is "
         "expected."),
        ("every-rule: {tolerations: [{tolerationSeconds: soon}]}", "placement.yaml: every-rule: "
         "tolerations: 1: tolerationSeconds: 'soon' was found where a whole number of seconds is "
         "expected."),
        ("every-rule: {priorityClassName: 1}", "placement.yaml: every-rule: priorityClassName: 1 "
         "was found where the name of a priority class is expected."),
        ("rules: {a: {queue: Large Queue}}", "placement.yaml: rules: a: queue: 'Large Queue' was "
         "found where the name of a queue is expected."),
    ],
)  # fmt: skip
def test_what_a_file_cannot_have_is_named_with_file_rule_and_key(read, text, said):
    with pytest.raises(WorkflowError) as raised:
        read(text)
    assert str(raised.value) == said


def test_a_file_that_cannot_be_read_is_named(read):
    with pytest.raises(WorkflowError) as raised:
        read_placement("missing.yaml")
    assert str(raised.value) == (
        "--kubernetes-pvc-placement missing.yaml cannot be read (No such file or directory): name "
        "a YAML file, from the working directory."
    )
    with pytest.raises(
        WorkflowError, match=r"^--kubernetes-pvc-placement placement\.yaml is not YAML"
    ):
        read("rules: {")


def test_a_rule_that_the_workflow_does_not_have_is_named(read):
    settings = dataclasses.replace(FOR_ALL, placement=read("rules: {delinate: {}}"))
    check_rules(settings, ["delinate", "gather"])
    check_rules(FOR_ALL, [])
    with pytest.raises(WorkflowError) as raised:
        check_rules(settings, ["delineate", "gather"])
    assert str(raised.value) == (
        "placement.yaml: rules: delinate: the workflow has no rule of this name; do you mean "
        "delineate?"
    )
    with pytest.raises(WorkflowError, match="; it has: gather, report.$"):
        check_rules(settings, ["report", "gather"])


def test_words_of_the_command_line_are_checked():
    assert parse_annotations(["example.com/note=a=b c"]) == {"example.com/note": "a=b c"}
    with pytest.raises(WorkflowError, match="'two words' is no name of an annotation"):
        parse_annotations(["two words=x"])
    assert parse_queue("small-1") == "small-1"
    with pytest.raises(WorkflowError, match="--kubernetes-pvc-queue 'Small' is no name of a queue"):
        parse_queue("Small")
