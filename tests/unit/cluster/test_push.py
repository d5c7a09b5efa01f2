"""What is copied to a cluster, when, and what of it is found again after an interruption."""

from __future__ import annotations

import os
import re
import time

import pytest
from fake_kubectl import run_python

from snakeshed.cluster.inputs import MADE
from snakeshed.cluster.kubectl import Kubectl
from snakeshed.cluster.push import push
from snakeshed.cluster.selection import select
from snakeshed.cluster.volume import CutOff, Volume
from snakeshed.errors import InputChangedError, KubernetesError, SeveralProblems


def send(fake, busy=(), piece=64_000_000, name="config/mine.yaml"):
    """Push a study, and return the selection and what was said."""
    selection = select(name)
    del fake.said[:]
    push(Volume(fake.kubectl()), selection, lambda: list(busy), piece)
    return "\n".join(fake.said)


def test_what_a_study_needs_is_copied_and_nothing_else(fake, checkout):
    program = checkout / "scripts/archive.py"
    program.write_text("print()\n")
    program.chmod(0o755)
    os.utime("data/dem/a.tif", ns=(5, 1_234_567_891_011))
    send(fake)
    there = {
        path.relative_to(fake.volume).as_posix()
        for path in fake.volume.rglob("*")
        if path.is_file() and ".snakeshed" not in path.parts and "__pycache__" not in path.parts
    }
    assert {name for name in there if name.startswith("data/")} == {
        "data/sites.csv",
        "data/dem/a.tif",
        "data/dem/a.tif.aux.xml",
    }
    assert {"Snakefile", "config/mine.yaml", "config/fbfm40.csv", "rules/common.smk"} <= there
    for name in there:
        assert (fake.volume / name).read_bytes() == (checkout / name).read_bytes(), name
    assert os.readlink(fake.volume / "nautilus") == "profiles/nautilus"
    assert (fake.volume / "data/dem/a.tif").stat().st_mtime_ns == 1_234_567_891_011
    assert os.access(fake.volume / "scripts/archive.py", os.X_OK)
    assert not os.access(fake.volume / "Snakefile", os.X_OK)


def test_a_second_push_sends_nothing_and_reads_nothing(fake, checkout):
    send(fake)
    before = len(fake.calls("exec"))
    assert "The volume has all files as they are here." in send(fake)
    # One to look, one to list inputs.
    assert len(fake.calls("exec")) == before + 2


def test_only_what_has_changed_is_sent(fake, checkout):
    send(fake)
    (checkout / "data/sites.csv").write_text("name,lon,lat\nb,1,2\n")
    (checkout / "data/dem/a.tif").touch()
    assert "Copying 1 file " in send(fake)
    assert (fake.volume / "data/sites.csv").read_text().endswith("b,1,2\n")
    assert not (fake.volume / ".snakeshed/replaced").exists()
    # A new time with the same content is neither sent nor looked at again.
    assert "all files as they are" in send(fake)


def test_content_of_the_same_size_and_time_is_seen(fake, checkout):
    path = checkout / "data/dem/a.tif"
    send(fake)
    times = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "Copying 1 file " in send(fake)
    assert (fake.volume / "data/dem/a.tif").read_bytes() == path.read_bytes()


def test_what_others_have_put_there_is_kept(fake, checkout):
    there = fake.volume / "data/sites.csv"
    there.parent.mkdir()
    there.write_text("theirs")
    assert "data/sites.csv was another file on the volume" in send(fake)
    assert there.read_text() != "theirs"
    (kept,) = fake.volume.glob(".snakeshed/replaced/*/data/sites.csv")
    assert kept.read_text() == "theirs"
    # Nor is what was pushed, and changed there.
    there.write_text("changed there")
    send(fake)
    texts = {path.read_text() for path in fake.volume.glob(".snakeshed/replaced/*/data/sites.csv")}
    assert "changed there" in texts


def receive(**more):
    """An answer to the calls that bring pieces."""
    return {"words": "exec -i", "order": "receive", **more}


def pieces_sent(fake):
    """How many calls have brought pieces so far."""
    return len(fake.calls("receive"))


def test_an_interrupted_push_goes_on_where_it_was(fake, checkout):
    big = checkout / "data/dem/a.tif"
    send(fake)
    big.write_bytes(os.urandom(400_000))
    fake.answers(receive(skip=2, cut=0))
    with pytest.raises(KubernetesError, match="cut off again and again"):
        send(fake, piece=100_000)
    (part,) = (fake.volume / "data/dem").glob(".a.tif.*.push")
    assert part.stat().st_size == 200_000
    # Until it is whole, the old one is there.
    assert (fake.volume / "data/dem/a.tif").stat().st_size == 10_240

    fake.answers()
    before = pieces_sent(fake)
    send(fake, piece=100_000)
    assert pieces_sent(fake) - before == 2
    assert (fake.volume / "data/dem/a.tif").read_bytes() == big.read_bytes()
    assert list((fake.volume / "data/dem").glob(".a.tif.*.push")) == []


def test_a_connection_that_is_cut_each_time_gets_there(fake, checkout):
    big = checkout / "data/dem/a.tif"
    send(fake)
    big.write_bytes(os.urandom(400_000))
    fake.answers(receive(cut=60_000, times=9))
    assert "The copy was cut off (error: unexpected EOF; exit status 1). It goes on." in send(fake)
    assert (fake.volume / "data/dem/a.tif").read_bytes() == big.read_bytes()


def test_a_file_that_changes_is_not_continued_with_other_bytes(fake, checkout):
    big = checkout / "data/dem/a.tif"
    send(fake)
    big.write_bytes(os.urandom(400_000))
    fake.answers(receive(skip=2, cut=0))
    with pytest.raises(KubernetesError):
        send(fake, piece=100_000)
    fake.answers()
    big.write_bytes(os.urandom(400_000))
    send(fake, piece=100_000)
    assert (fake.volume / "data/dem/a.tif").read_bytes() == big.read_bytes()
    assert list((fake.volume / "data/dem").glob(".a.tif.*")) == []


def test_bytes_that_changed_on_the_way_are_sent_again(fake, checkout):
    big = checkout / "data/dem/a.tif"
    send(fake)
    big.write_bytes(os.urandom(300_000))
    fake.answers(receive(skip=1, cut=0))
    with pytest.raises(KubernetesError):
        send(fake, piece=100_000)
    (part,) = (fake.volume / "data/dem").glob(".a.tif.*.push")
    part.write_bytes(bytes(100_000))
    fake.answers()
    assert "data/dem/a.tif arrived with other bytes" in send(fake, piece=100_000)
    assert (fake.volume / "data/dem/a.tif").read_bytes() == big.read_bytes()


def test_a_file_that_changes_while_it_is_copied_is_named(fake, checkout, monkeypatch):
    selection = select("config/mine.yaml")
    (checkout / "data/sites.csv").write_text("longer than it was when the copy began")
    with pytest.raises(InputChangedError, match=r"data/sites.csv: found another size or time"):
        push(Volume(fake.kubectl()), selection, list)
    assert not (fake.volume / "data/sites.csv").exists()


def test_a_full_volume_is_named(fake, checkout):
    said = '{"error": "No space left on device", "errno": "ENOSPC", "path": "data/dem/a.tif"}\n'
    fake.answers(receive(stdout=said))
    message = (
        r"the volume: data/dem/a.tif: found no room \(No space left on device\); .*storage.yaml"
    )
    with pytest.raises(KubernetesError, match=message):
        send(fake)


def test_a_volume_that_cannot_be_written_is_named(fake, checkout):
    said = '{"error": "Permission denied", "errno": "EACCES", "path": "data"}\n'
    fake.answers(receive(stdout=said))
    message = r"the volume: data: found Permission denied; expected .* the access pod \(user 1000\)"
    with pytest.raises(KubernetesError, match=message):
        send(fake)


def test_what_stands_in_the_way_on_the_volume_is_named(fake, checkout):
    (fake.volume / "data").write_text("a file, not a folder")
    with pytest.raises(KubernetesError, match=r"the volume: data.*: found (File exists|Not a dir)"):
        send(fake)


def test_an_input_that_only_the_volume_has_is_refused(fake, checkout):
    send(fake)
    (checkout / "data/dem/b c.tif").write_bytes(b"another")
    send(fake)
    (checkout / "data/dem/b c.tif").unlink()
    message = (
        r"the volume: found inputs of config/mine.yaml that are not here: data/dem/b c.tif; .*"
        r"kubectl exec --namespace mine deployment/snakeshed-access -- rm -- 'data/dem/b c.tif'"
    )
    with pytest.raises(KubernetesError, match=message):
        send(fake)
    # It is not for us to delete.
    assert (fake.volume / "data/dem/b c.tif").exists()


def test_sidecar_files_count_as_inputs(fake, checkout):
    send(fake)
    (checkout / "data/dem/a.tif.aux.xml").unlink()
    with pytest.raises(KubernetesError, match=r"not here: data/dem/a.tif.aux.xml"):
        send(fake)


def test_nothing_is_replaced_under_a_run(fake, checkout):
    send(fake, busy=["snakeshed-mine-1"])
    (checkout / "data/sites.csv").write_text("name,lon,lat\nb,1,2\n")
    message = r"driver snakeshed-mine-1: found a run that goes on .* changed here: data/sites.csv; "
    with pytest.raises(KubernetesError, match=message):
        send(fake, busy=["snakeshed-mine-1"])
    assert (fake.volume / "data/sites.csv").read_text().endswith("a,1,2\n")


@pytest.mark.parametrize(
    ("key", "given", "found"),
    [
        ("dem.path", "{outside}/dem.tif", "an absolute path"),
        ("dem.path", "../outside/dem.tif", "a path out of the checkout"),
        ("sites.path", "../outside/sites.csv", "a path out of the checkout"),
    ],
)
def test_inputs_outside_of_the_checkout_are_refused(checkout, key, given, found):
    outside = checkout.parent / "outside"
    outside.mkdir()
    (outside / "dem.tif").write_bytes(b"cells")
    (outside / "sites.csv").write_text("name,lon,lat\n")
    path = given.format(outside=outside)
    own = checkout / "config/mine.yaml"
    old = "data/dem/*.tif" if key == "dem.path" else "data/sites.csv"
    own.write_text(own.read_text().replace(old, path))
    with pytest.raises(SeveralProblems) as raised:
        select("config/mine.yaml")
    (problem,) = raised.value.problems
    assert f"{key}: {path}: found {found}; expected a path below {checkout}" in str(problem)
    assert f"ln -s {outside} data/" in str(problem)


def test_a_vrt_with_absolute_names_is_refused(checkout):
    (checkout / "data/all.vrt").write_text(
        f"<VRTDataset><SourceFilename>{checkout}/data/dem/a.tif</SourceFilename></VRTDataset>"
    )
    own = checkout / "config/mine.yaml"
    own.write_text(own.read_text().replace("data/dem/*.tif", "data/all.vrt"))
    with pytest.raises(
        SeveralProblems, match=r"dem.path: .*/data/dem/a.tif: found an absolute path"
    ):
        select("config/mine.yaml")


def test_files_behind_links_are_copied_as_files(fake, checkout):
    outside = checkout.parent / "outside"
    (checkout / "data/dem").rename(outside)
    (checkout / "data/dem").symlink_to(outside)
    send(fake)
    there = fake.volume / "data/dem"
    assert not there.is_symlink()
    assert (there / "a.tif").read_bytes() == (outside / "a.tif").read_bytes()


def test_a_configuration_outside_of_the_checkout_is_refused(checkout):
    (checkout / "config/mine.yaml").rename(checkout.parent / "mine.yaml")
    with pytest.raises(
        SeveralProblems, match=r"a configuration outside of the checkout; .*config/"
    ):
        select("../mine.yaml")


def test_of_the_demo_no_input_is_copied_but_its_tables(checkout):
    (checkout / "resources/demo").mkdir(parents=True)
    (checkout / "resources/demo/dem.tif").write_bytes(b"made here")
    assert select("config/config.yaml").inputs == ["config/fbfm40.csv"]
    rule = (checkout / "rules/demo.smk").read_text()
    assert re.findall(r'="(resources/demo/\S+)"', rule) == list(MADE)


def test_the_volume_lists_inputs_as_a_run_there_would(fake, checkout):
    send(fake)
    code = "from snakeshed.cluster.inputs import inputs_of; print(*inputs_of('config/mine.yaml'))"
    said = run_python(fake.volume, f"import sys; sys.path.insert(0, 'scripts'); {code}")
    assert said.split() == select("config/mine.yaml").inputs


def test_a_copy_that_is_cut_although_kubectl_ends_well_is_sent_again(fake, checkout):
    big = checkout / "data/dem/a.tif"
    send(fake)
    big.write_bytes(os.urandom(400_000))
    fake.answers(receive(times=1, cut=-100, well=True))
    assert "The copy was cut off (0 of 1 pieces have arrived). It goes on." in send(fake)
    assert (fake.volume / "data/dem/a.tif").read_bytes() == big.read_bytes()


def test_nothing_is_replaced_under_a_run_that_begins_while_files_are_copied(fake, checkout):
    send(fake)
    (checkout / "data/dem/a.tif").write_bytes(os.urandom(300_000))
    asked = []

    def busy():
        asked.append(1)
        return ["snakeshed-mine-1"] if len(asked) > 2 else []

    with pytest.raises(KubernetesError, match="driver snakeshed-mine-1: found a run that goes on"):
        push(Volume(fake.kubectl()), select("config/mine.yaml"), busy, 100_000)
    assert (fake.volume / "data/dem/a.tif").stat().st_size == 10_240


def test_the_placement_of_jobs_is_copied(fake, checkout):
    profile = checkout / "profiles/nautilus/config.yaml"
    profile.write_text(profile.read_text() + "kubernetes-pvc-placement: config/placement.yaml\n")
    message = (
        r"kubernetes-pvc-placement: config/placement.yaml: found no such file; expected a file of "
    )
    with pytest.raises(SeveralProblems, match=message):
        send(fake)
    (checkout / "config/placement.yaml").write_text("{}\n")
    send(fake)
    assert (fake.volume / "config/placement.yaml").read_text() == "{}\n"


def test_a_silent_connection_is_ended(fake):
    fake.answers({"words": "exec -i", "sleep": 60})
    kubectl = Kubectl("mine", fake.said.append, sleep=lambda _: None, silent_s=0.1)
    began = time.monotonic()
    with pytest.raises(CutOff, match=r"nothing was heard for 0.1 s"):
        Volume(kubectl).ask({"do": "list", "folder": "."}, bytes(10_000_000))
    assert time.monotonic() - began < 30
