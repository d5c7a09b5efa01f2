"""A bucket in place of a shared volume: what is sent, what is brought, and what is told."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from kubernetes.client.exceptions import ApiException

from snakeshed.errors import ConfigurationError, InputChangedError, MachineError, ResultError
from snakeshed.jobs.bucket import Bucket, bucket_of, forget_secret
from snakeshed.result_files import check_result, record_of, result_file

SECOND = 1_000_000_000


class ClientError(Exception):
    """What botocore raises for an answer with an error."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


class Boto3Error(Exception):
    """What boto3 raises for an upload that failed."""


class FakeClient:
    """A client of S3 that keeps objects in memory; each is written in a second of its own."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.now = 2_000_000_000.0
        self.fails: str | None = None
        self.meta = SimpleNamespace(endpoint_url="http://s3")
        self.after_upload = lambda: None

    def upload_file(
        self,
        file: str,
        bucket: str,
        key: str,
        ExtraArgs: dict | None = None,  # noqa: N803
    ) -> None:
        self.now += 1
        self.objects[key] = (Path(file).read_bytes(), self.now)
        self.metadata[key] = (ExtraArgs or {}).get("Metadata", {})
        self.after_upload()

    def download_file(self, bucket: str, key: str, file: str) -> None:
        if key not in self.objects:
            raise ClientError("404")
        Path(file).write_bytes(self.objects[key][0])

    def head_object(self, **asked: str) -> dict:
        if asked["Key"] not in self.objects:
            raise ClientError("404")
        content, when = self.objects[asked["Key"]]
        return {
            "LastModified": datetime.fromtimestamp(when, UTC),
            "ContentLength": len(content),
            "ETag": hashlib.md5(content).hexdigest(),
            "Metadata": self.metadata.get(asked["Key"], {}),
        }

    def get_paginator(self, name: str) -> FakeClient:
        assert name == "list_objects_v2"
        return self

    def paginate(self, **asked: str) -> Iterator[dict]:
        if self.fails:
            raise ClientError(self.fails)
        yield {}
        for key in [key for key in self.objects if key.startswith(asked["Prefix"])]:
            head = self.head_object(Key=key)
            one = {name: head[name] for name in ("LastModified", "ETag")}
            yield {"Contents": [{"Key": key, "Size": head["ContentLength"], **one}]}


class FakeObject:
    """As far as the official plugin's object matters here."""

    def __init__(self, provider: FakeProvider, key: str) -> None:
        self.provider, self.bucket, self.key = provider, "pail", key

    def cache_key(self, suffix: str) -> str:
        return str(self.provider.local_prefix / suffix)

    def local_path(self) -> Path:
        return self.provider.local_prefix / self._local_suffix_from_key(self.key)

    def store_object(self) -> None:
        self.provider.s3c.meta.client.upload_file(str(self.local_path()), self.bucket, self.key)

    def s3bucket(self) -> SimpleNamespace:
        def filtered(Prefix: str) -> list[SimpleNamespace]:  # noqa: N803
            self.provider.lists.append(Prefix)
            return [
                SimpleNamespace(
                    key=key, size=len(content), last_modified=datetime.fromtimestamp(when, UTC)
                )
                for key, (content, when) in self.provider.s3c.meta.client.objects.items()
                if key.startswith(Prefix)
            ]

        return SimpleNamespace(objects=SimpleNamespace(filter=filtered))


class FakeProvider:
    def __init__(self, client: FakeClient) -> None:
        self.s3c = SimpleNamespace(meta=SimpleNamespace(client=client))
        self.keep_local = False
        self.lists: list[str] = []

    def get_storage_object_cls(self) -> type:
        return FakeObject


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The driver's folder, with stand-ins for what comes with the storage plugin."""
    for name, errors in (
        ("boto3.exceptions", {"Boto3Error": Boto3Error}),
        ("botocore.exceptions", {"BotoCoreError": ClientError, "ClientError": ClientError}),
    ):
        module = ModuleType(name)
        vars(module).update(errors)
        monkeypatch.setitem(sys.modules, name.partition(".")[0], ModuleType(name.partition(".")[0]))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def driver(client) -> Bucket:
    return Bucket(FakeProvider(client), "s3://pail/mine/", "tiny", driver=True)


def write(name: str, text: str) -> str:
    """Write a file that is older than what is sent."""
    Path(name).parent.mkdir(exist_ok=True, parents=True)
    Path(name).write_text(text)
    return name


def test_inputs_are_sent_once_and_again_when_they_changed(driver, client):
    files = [write("data/dem.tif", "tiles"), write("config/fuel.csv", "fuel")]
    assert driver.send_inputs(files) == sorted(files)
    assert client.objects["mine/data/dem.tif"][0] == b"tiles"
    assert driver.send_inputs(files) == []
    write("data/dem.tif", "tIles")  # of the same size
    assert driver.send_inputs(files) == ["data/dem.tif"]
    assert client.objects["mine/data/dem.tif"][0] == b"tIles"


def test_an_input_that_an_older_file_of_its_size_has_replaced_is_sent(driver):
    file = write("data/dem.tif", "tiles")
    driver.send_inputs([file])
    write(file, "TILES")
    os.utime(file, (1000, 1000))
    assert driver.send_inputs([file]) == [file]


def another(client: FakeClient, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A driver in another folder, which is the current one from now on."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Bucket(FakeProvider(client), "s3://pail/mine/", "tiny", driver=True)


def test_a_new_driver_sends_only_what_the_bucket_does_not_have_by_content(
    driver, client, folder, monkeypatch
):
    driver.send_inputs([write("data/dem.tif", "tiles"), write("data/b.tif", "other")])
    clone = another(client, folder / "clone", monkeypatch)
    # Both of the same size and older than the objects.
    files = [write("data/dem.tif", "TILES"), write("data/b.tif", "other")]
    assert clone.send_inputs(files) == ["data/dem.tif"]
    assert client.objects["mine/data/dem.tif"][0] == b"TILES"
    assert clone.send_inputs(files) == []


def test_an_object_of_unknown_content_is_replaced(driver, client):
    file = write("data/dem.tif", "tiles")
    client.upload_file(write("else.tif", "TILES"), "pail", "mine/data/dem.tif")
    assert driver.send_inputs([file]) == [file]
    assert client.objects["mine/data/dem.tif"][0] == b"tiles"


def test_an_object_that_another_has_replaced_is_sent_again(driver, client):
    file = write("data/dem.tif", "tiles")
    driver.send_inputs([file])
    client.upload_file(write("else.tif", "TILES"), "pail", "mine/data/dem.tif")
    assert driver.send_inputs([file]) == [file]
    assert client.objects["mine/data/dem.tif"][0] == b"tiles"


@pytest.mark.parametrize("look", ["send_inputs", "check_inputs"])
def test_results_that_may_come_from_a_replaced_object_are_not_used(driver, client, look):
    file = write("data/dem.tif", "tiles")
    driver.send_inputs([file])
    driver.check_inputs([file])
    client.upload_file(file, "pail", "mine/results/tiny/a.json")
    client.upload_file(write("else.tif", "TILES"), "pail", "mine/data/dem.tif")
    with pytest.raises(InputChangedError) as error:
        getattr(driver, look)([file])
    assert str(error.value) == (
        "s3://pail/mine/data/dem.tif: found another object than this driver sent, or none; "
        "expected the input as it was sent: jobs may have read another. Use a "
        "--default-storage-prefix that no other folder uses, or delete "
        "s3://pail/mine/results/tiny/ and run the same command again."
    )
    assert client.objects["mine/data/dem.tif"][0] == b"TILES"


def test_an_input_that_changes_while_it_is_sent_stops_the_run_and_is_sent_again(driver, client):
    file = write("data/dem.tif", "tiles")
    client.after_upload = lambda: write(file, "longer tiles")
    with pytest.raises(InputChangedError) as error:
        driver.send_inputs([file])
    assert str(error.value) == (
        "data/dem.tif: found another content while it was sent to the bucket; expected an input "
        "that nobody changes, here or in the bucket. See to it that no other run uses this "
        "--default-storage-prefix, and run the same command again."
    )
    client.after_upload = lambda: None
    client.upload_file(file, "pail", "mine/results/tiny/a.json")
    assert driver.send_inputs([file]) == [file]
    assert client.objects["mine/data/dem.tif"][0] == b"longer tiles"


OF_ANOTHER = (
    "s3://pail/mine/results/tiny/: found results that were not made by this folder's last runs "
    "with this bucket; expected no results, or those whose history is in .snakemake here. They may "
    "come from another configuration or from other inputs. Run in the folder they were made from, "
    "use another --default-storage-prefix, or delete them from the bucket."
)


def claimed(driver: Bucket, client: FakeClient) -> None:
    """Let a driver make a result."""
    driver.claim()
    Path(".snakemake/metadata").mkdir(parents=True, exist_ok=True)
    client.upload_file(write("a", "{}"), "pail", "mine/results/tiny/a.json")


@pytest.mark.parametrize("step", ["check_owner", "claim"])
def test_results_of_another_folder_are_not_taken_over(driver, client, folder, monkeypatch, step):
    claimed(driver, client)
    driver.check_owner()
    driver.claim()
    objects = dict(client.objects)
    clone = another(client, folder / "clone", monkeypatch)
    with pytest.raises(ConfigurationError) as error:
        getattr(clone, step)()
    assert str(error.value) == OF_ANOTHER
    assert client.objects == objects


def test_results_without_an_owner_are_not_taken_over(driver, client):
    client.upload_file(write("a", "{}"), "pail", "mine/results/tiny/a.json")
    with pytest.raises(ConfigurationError) as error:
        driver.check_owner()
    assert str(error.value) == OF_ANOTHER


def test_results_whose_history_is_lost_are_not_taken_over(driver, client):
    claimed(driver, client)
    shutil.rmtree(".snakemake/metadata")
    with pytest.raises(ConfigurationError, match="whose history is in .snakemake here"):
        driver.check_owner()


def test_results_are_not_taken_over_after_a_run_with_another_bucket(driver, client):
    claimed(driver, client)
    other = Bucket(FakeProvider(FakeClient()), "s3://other", "tiny", driver=True)
    # Nothing is there, so nothing is refused; the history is now that of the other bucket.
    other.claim()
    with pytest.raises(ConfigurationError) as error:
        driver.check_owner()
    assert str(error.value) == OF_ANOTHER


@pytest.mark.parametrize("name", ["/mnt/dem.tif", "../shared/dem.tif"])
def test_an_input_elsewhere_has_no_place_in_the_bucket(driver, name):
    with pytest.raises(ConfigurationError) as error:
        driver.send_inputs([name])
    assert str(error.value) == (
        f"{name}: found an input outside of the folder that Snakemake runs in; expected a path "
        "below it, which is also the file's name in the bucket. Move the file there, or link it "
        "with ln -s, and change the configuration."
    )


def test_a_bucket_that_cannot_be_used_is_named(driver, client):
    client.fails = "NoSuchBucket"
    with pytest.raises(MachineError) as error:
        driver.send_inputs([write("data/dem.tif", "tiles")])
    assert str(error.value) == (
        "s3://pail: found ClientError: An error occurred (NoSuchBucket); expected a bucket that "
        "exists and that this process can read and write. Check --default-storage-prefix, and the "
        "address and keys in SNAKEMAKE_STORAGE_S3_ENDPOINT_URL, SNAKEMAKE_STORAGE_S3_ACCESS_KEY "
        "and SNAKEMAKE_STORAGE_S3_SECRET_KEY."
    )


def test_a_pod_finds_the_files_that_the_driver_found(driver, client, tmp_path, monkeypatch):
    write("data/a.tif", "a")
    look = driver.listed("dem", lambda pattern: sorted(map(str, Path().glob(pattern))))
    assert look("data/*.tif") == ["data/a.tif"]
    driver.send_inputs(["data/a.tif"])

    (tmp_path / "pod").mkdir()
    monkeypatch.chdir(tmp_path / "pod")
    pod = Bucket(FakeProvider(client), "s3://pail/mine", "tiny", driver=False)
    found = pod.listed("dem", lambda pattern: pytest.fail("looked in a pod"))
    assert found("data/*.tif") == ["data/a.tif"]
    assert found("resources/made.tif") == ["resources/made.tif"]
    assert found(["b.tif", "c.tif"]) == ["b.tif", "c.tif"]


def stored(provider: FakeProvider, path: str, text: str) -> None:
    """Write a result as a job in a pod does, store it, and remove all of it here."""
    with result_file(path) as part:
        part.write_text(text)
    kind = provider.get_storage_object_cls()
    kind(provider, f"mine/{path}").store_object()
    os.unlink(path)
    os.unlink(record_of(path))


def test_the_record_of_a_result_travels_with_it(client):
    provider = FakeProvider(client)
    driver = Bucket(provider, "s3://pail/mine", "tiny", driver=True)
    stored(provider, "results/tiny/a.json", "{}")
    driver.bring(["results/tiny/a.json"])
    check_result("results/tiny/a.json")

    # Also for what Snakemake itself retrieves, and damage is seen.
    os.unlink("results/tiny/a.json")
    client.objects["mine/results/tiny/a.json"] = (b"{]", client.now)
    provider.get_storage_object_cls()(provider, "mine/results/tiny/a.json").retrieve_object()
    with pytest.raises(ResultError, match="a damaged or modified file"):
        check_result("results/tiny/a.json")


def test_a_file_that_no_job_has_made_yet_is_not_found(driver):
    with pytest.raises(FileNotFoundError, match=r"shards/0/terrain\.json"):
        driver.bring(["results/tiny/shards/0/terrain.json"])


def test_what_need_not_be_there_is_brought_as_far_as_it_is(client):
    provider = FakeProvider(client)
    driver = Bucket(provider, "s3://pail/mine", "tiny", driver=True)
    stored(provider, "results/tiny/a.json", "{}")
    driver.bring(["results/tiny/a.json", "results/tiny/b.json"], required=False)
    assert sorted(os.listdir("results/tiny")) == [".a.json.sha256", "a.json"]


def test_copies_of_results_are_kept_as_long_as_the_bucket_has_the_same(client):
    provider = FakeProvider(client)
    driver = Bucket(provider, "s3://pail/mine", "tiny", driver=True)
    for name in "ab":
        stored(provider, f"results/tiny/{name}.json", f'"{name}"')
    files = [f"results/tiny/{name}.json" for name in "ab"]
    driver.bring(files)
    driver.drop_old(files)
    assert all(map(os.path.exists, files))

    stored(provider, files[1], '"c"')
    driver.drop_old(files[:1])
    client.objects["mine/results/tiny/a.json"] = (b"[]", client.now + 5)
    driver.drop_old([files[0], "results/tiny/.a.json.sha256"])
    assert not os.listdir("results/tiny")


def result(name: str, text: str) -> str:
    with result_file(name) as part:
        part.write_text(text)
    return name


@pytest.mark.parametrize("in_bucket", [True, False])
def test_results_of_a_run_on_this_machine_are_kept(client, in_bucket):
    provider = FakeProvider(client)
    driver = Bucket(provider, "s3://pail/mine", "tiny", driver=True)
    stored(provider, "results/tiny/a.json", '"a"')
    driver.bring(["results/tiny/a.json"])
    client.objects["mine/results/tiny/a.json"] = (b"[]", client.now + 5)
    if in_bucket:
        stored(provider, "results/tiny/local.json", '"of the bucket"')
    local = result("results/tiny/local.json", '"of this machine"')
    with pytest.raises(ConfigurationError) as error:
        driver.drop_old(["results/tiny/a.json", local])
    assert str(error.value) == (
        "results/tiny/local.json: found a result that was not brought from the bucket, or was "
        "changed here; expected no results of a run on this machine where those of the bucket go. "
        "Move its folder away or give this study another name; nothing was deleted."
    )
    assert Path(local).read_text() == '"of this machine"'
    check_result(local)
    assert Path("results/tiny/a.json").exists()


def test_a_brought_copy_that_was_changed_here_is_kept(client):
    provider = FakeProvider(client)
    driver = Bucket(provider, "s3://pail/mine", "tiny", driver=True)
    stored(provider, "results/tiny/a.json", '"a"')
    driver.bring(["results/tiny/a.json"])
    result("results/tiny/a.json", '"b"')
    with pytest.raises(ConfigurationError, match="or was changed here"):
        driver.drop_old(["results/tiny/a.json"])
    assert Path("results/tiny/a.json").read_text() == '"b"'


def test_copies_that_snakemake_retrieves_may_be_dropped_and_half_downloads_are_left(client):
    provider = FakeProvider(client)
    driver = Bucket(provider, "s3://pail/mine", "tiny", driver=True)
    stored(provider, "results/tiny/a.json", '"a"')
    provider.get_storage_object_cls()(provider, "mine/results/tiny/a.json").retrieve_object()
    client.objects["mine/results/tiny/a.json"] = (b"[]", client.now + 5)
    part = write("results/tiny/b.parquet.5Ef01bCd", "half")
    driver.drop_old(["results/tiny/a.json", part])
    assert os.listdir("results/tiny") == ["b.parquet.5Ef01bCd"]


def test_objects_have_their_copies_at_plain_paths_and_keep_them(client, folder):
    provider = FakeProvider(client)
    Bucket(provider, "s3://pail/mine", "tiny", driver=True)
    made = provider.get_storage_object_cls()(provider, "mine/data/dem.tif")
    assert made.local_path() == folder / "data/dem.tif"
    assert provider.keep_local
    assert not made.is_dir()


def test_one_list_says_which_results_are_there(client):
    provider = FakeProvider(client)
    Bucket(provider, "s3://pail/mine", "tiny", driver=True)
    kind = provider.get_storage_object_cls()
    stored(provider, "results/tiny/a.json", "{}")

    class Existing(dict):
        has_inventory: set = set()  # noqa: RUF012

    cache = SimpleNamespace(mtime={}, size={}, exists_in_storage=Existing())
    for name in ("a.json", "shards/0/b.json", "shards/1/b.json"):
        asyncio.run(kind(provider, f"mine/results/tiny/{name}").inventory(cache))
    assert provider.lists == ["mine/results/tiny/"]
    assert cache.size[str(Path.cwd() / "results/tiny/a.json")] == 2
    parent = kind(provider, "mine/results/tiny/shards/1/b.json").get_inventory_parent()
    assert cache.exists_in_storage.has_inventory == {parent}
    assert kind(provider, "mine/data/dem.tif").get_inventory_parent() != parent


def test_jobs_do_not_get_the_packages_of_the_plugin(driver):
    plugins = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(["/workdir/scripts", str(plugins), "/else"])
    assert driver.for_jobs(path) == os.pathsep.join(["/workdir/scripts", "/else"])


def workflow(
    provider: str | None, prefix: str | None, main: bool = True, targets: Iterable[str] = ()
) -> SimpleNamespace:
    """As far as Snakemake's own matters here."""
    return SimpleNamespace(
        storage_settings=SimpleNamespace(
            default_storage_provider=provider, default_storage_prefix=prefix
        ),
        storage_registry=SimpleNamespace(default_storage_provider=FakeProvider(FakeClient())),
        is_main_process=main,
        dag_settings=SimpleNamespace(targets=set(targets)),
    )


def test_a_run_without_storage_has_no_bucket():
    assert bucket_of(workflow(None, None), "tiny") is None


def test_another_kind_of_storage_is_refused():
    with pytest.raises(ConfigurationError) as error:
        bucket_of(workflow("fs", "store"), "tiny")
    assert str(error.value) == (
        "--default-storage-provider: found fs; expected s3. Use --profile cloud, or for a volume "
        "that all nodes can write --profile nautilus."
    )


@pytest.mark.parametrize(
    ("prefix", "found"), [(None, "nothing"), ("s3://", "s3://"), ("pail/mine", "pail/mine")]
)
def test_a_bucket_has_to_be_named(prefix, found):
    with pytest.raises(ConfigurationError) as error:
        bucket_of(workflow("s3", prefix), "tiny")
    assert str(error.value) == (
        f"--default-storage-prefix: found {found}; expected a bucket, and a folder in it if you "
        "like, such as s3://my-bucket/my-folder. Set it in profiles/cloud/config.yaml, or behind "
        "the command."
    )


def clone() -> None:
    """Let Git know what Snakemake looks for."""
    write("config/schema/study.schema.yaml", "")
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "add", "."], check=True)


def test_a_checkout_that_git_does_not_know_is_told_before_pods_miss_its_files(folder):
    with pytest.raises(MachineError) as error:
        bucket_of(workflow("s3", "s3://pail"), "tiny")
    assert str(folder) in str(error.value)
    assert "expected a checkout that Git knows: its files are what Snakemake sends to pods" in str(
        error.value
    )
    # A pod has what was sent.
    assert not bucket_of(workflow("s3", "s3://pail", main=False), "tiny").driver

    clone()
    assert bucket_of(workflow("s3", "s3://pail"), "tiny").driver


@pytest.mark.parametrize("target", ["archive", "results/tiny/archive/tiny.zip"])
def test_an_archive_is_not_made_of_a_bucket(target):
    clone()
    with pytest.raises(ConfigurationError) as error:
        bucket_of(workflow("s3", "s3://pail", targets=[target]), "tiny")
    assert str(error.value) == (
        f"{target}: found a run that keeps its files in a bucket; expected one with all logs, "
        "inputs and results at hand, which an archive is made of. Run the study without "
        "--profile cloud: its tables will be the same."
    )


def test_a_machine_without_git_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match="no git on this machine"):
        bucket_of(workflow("s3", "s3://pail"), "tiny")


def test_the_secret_of_a_run_that_had_nothing_to_do_is_deleted():
    deleted = []
    executor = SimpleNamespace(
        unregister_secret=None,
        run_namespace="d0c5",
        namespace="mine",
        kubeapi=SimpleNamespace(delete_namespaced_secret=lambda *names: deleted.append(names)),
    )
    forget_secret(SimpleNamespace(scheduler=SimpleNamespace(_executor=executor)))
    assert deleted == [("d0c5", "mine")]


def test_a_secret_that_is_gone_already_is_no_problem():
    def gone(*names: str) -> None:
        raise ApiException(404, "Not Found")

    kubeapi = SimpleNamespace(delete_namespaced_secret=gone)
    executor = SimpleNamespace(
        unregister_secret=None, run_namespace="d0c5", namespace="mine", kubeapi=kubeapi
    )
    forget_secret(SimpleNamespace(scheduler=SimpleNamespace(_executor=executor)))
    # A process that planned nothing has no executor.
    forget_secret(SimpleNamespace(scheduler=None))
    forget_secret(SimpleNamespace(scheduler=SimpleNamespace(_executor=object())))
