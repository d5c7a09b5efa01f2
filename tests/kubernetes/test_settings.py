"""Settings: what is taken, and what is said about the rest."""

from __future__ import annotations

import dataclasses

import pytest
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from snakemake_executor_plugin_kubernetes_pvc.settings import (
    ExecutorSettings,
    check,
    check_user,
    format_tolerations,
    parse_environment,
    parse_labels,
    parse_tolerations,
    writable_folders,
)

GOOD = ExecutorSettings(claim="shared", mount_path="/data")


def test_snakemake_finds_the_executor_and_describes_each_setting():
    plugin = ExecutorPluginRegistry().get_plugin("kubernetes-pvc")
    described = {one["cliarg"]: one["help"] for one in plugin.get_settings_info()}
    names = {field.name.replace("_", "-") for field in dataclasses.fields(ExecutorSettings)}
    assert set(described) == {f"--kubernetes-pvc-{name}" for name in names}
    assert all(text.endswith(".") for text in described.values())


def test_tolerations_are_written_as_kubectl_writes_taints():
    words = ["dedicated=snakes:NoSchedule", "nvidia.com/gpu", "slow:NoExecute"]
    parsed = parse_tolerations(words)
    assert parsed == [
        {"operator": "Equal", "key": "dedicated", "value": "snakes", "effect": "NoSchedule"},
        {"operator": "Exists", "key": "nvidia.com/gpu"},
        {"operator": "Exists", "key": "slow", "effect": "NoExecute"},
    ]
    assert format_tolerations(parsed) == words


@pytest.mark.parametrize(
    ("parse", "word", "said"),
    [
        (parse_tolerations, "key:Sometimes", "no toleration"),
        (parse_labels, "project", "NAME=VALUE"),
        (parse_labels, "project=two words", "no label"),
        (parse_environment, "1ST=x", "no name"),
        (parse_environment, "=x", "NAME=VALUE"),
    ],
)
def test_a_malformed_word_is_named(parse, word, said):
    with pytest.raises(WorkflowError, match=said):
        parse([word])


def test_a_value_may_hold_an_equals_sign():
    assert parse_environment(["OPTIONS=a=b"]) == {"OPTIONS": "a=b"}


@pytest.mark.parametrize("folder", ["/data", "/data/fires/2020"])
def test_the_working_directory_lies_on_the_volume(folder):
    check(GOOD, folder)


@pytest.mark.parametrize(
    ("change", "folder", "said"),
    [
        ({}, "/database", "/database is not in /data"),
        ({"mount_path": "data"}, "/data", "not an absolute path"),
        ({"user_id": 0}, "/data", "--kubernetes-pvc-user-id is 0"),
        ({"start_deadline": 0}, "/data", "--kubernetes-pvc-start-deadline is 0, and must be >= 1"),
        ({"node_deadline": 0}, "/data", "--kubernetes-pvc-node-deadline is 0, and must be >= 1"),
        ({"room_deadline": -1}, "/data", "--kubernetes-pvc-room-deadline is -1, and must be >= 0"),
        ({"memory_retries": -1}, "/data", "--kubernetes-pvc-memory-retries is -1"),
        ({"jobs_per_process": 0}, "/data", "--kubernetes-pvc-jobs-per-process is 0"),
        ({"ttl": 599}, "/data", "--kubernetes-pvc-ttl is 599, and must be >= 600"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(change, folder, said):
    with pytest.raises(WorkflowError, match=said):
        check(dataclasses.replace(GOOD, **change), folder)


def test_jobs_write_to_the_folders_that_are_named_and_to_that_of_snakemake(tmp_path):
    volume = tmp_path.resolve() / "data"
    (volume / "work").mkdir(parents=True)
    (volume / "large").mkdir()
    (volume / "work/results").symlink_to(volume / "large")
    (tmp_path / "link").symlink_to(volume)
    settings = dataclasses.replace(GOOD, mount_path=str(tmp_path / "link"))
    work = str(volume / "work")
    assert writable_folders(settings, work) == ()
    # Links are followed, and what lies in another folder needs no mount of its own.
    names = ["results", "results/mine", str(volume / ".cache")]
    settings = dataclasses.replace(settings, writable=names)
    assert writable_folders(settings, work) == (".cache", "large", "work/.snakemake")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/elsewhere", "--kubernetes-pvc-writable /elsewhere: /elsewhere is not in /data, where "
         "pods have the volume: name folders of the volume."),
        ("../..", "--kubernetes-pvc-writable ../..: / is not in /data"),
        ("..", "--kubernetes-pvc-writable .. is the whole volume: name folders in it, or leave "
         "the setting out."),
    ],
)  # fmt: skip
def test_folders_to_write_to_lie_on_the_volume(name, said):
    settings = dataclasses.replace(GOOD, writable=[name])
    with pytest.raises(WorkflowError) as raised:
        writable_folders(settings, "/data/work")
    assert said in str(raised.value)


ROOT = (
    "The driver runs as user 0, and its pods as user 1000, which cannot write to the folders that "
    "user 0 makes (umask 022): jobs would fail, or interrupted ones would leave outputs that are "
    "not marked as incomplete. Run it as user 1000 (in a pod: runAsUser: 1000; as root: setpriv "
    "--reuid 1000 --regid 1000 --clear-groups snakemake …), or let others write (umask 000)."
)


@pytest.mark.parametrize(
    ("uid", "gid", "umask", "owner", "said"),
    [
        (0, 0, 0o022, 0, ROOT),
        (0, 0, 0o000, 0, None),
        (0, 1000, 0o002, 0, None),
        # The volume gives all files to one user: NFS with root_squash or all_squash.
        (0, 0, 0o022, 65534, None),
        (1000, 1000, 0o077, 1000, None),
        (1234, 99, 0o022, 1234, "marked as incomplete. Set --kubernetes-pvc-user-id 1234 "
         "--kubernetes-pvc-group-id 99, or let others write (umask 000)."),
    ],
)  # fmt: skip
def test_driver_and_pods_can_change_what_the_other_one_makes(uid, gid, umask, owner, said):
    if said is None:
        assert check_user(GOOD, uid, gid, umask, owner) is None
        return
    with pytest.raises(WorkflowError) as raised:
        check_user(GOOD, uid, gid, umask, owner)
    assert said in str(raised.value)


def test_a_driver_of_another_user_is_warned_where_it_may_work():
    assert check_user(GOOD, 1234, 1000, 0o002, 1234) == (
        "The driver runs as user 1234, and its pods as user 1000: it may not be able to replace "
        "what they make. Set --kubernetes-pvc-user-id 1234 --kubernetes-pvc-group-id 1000."
    )
