"""A bucket in place of a shared volume: Snakemake's default storage, at the paths of a local run.

Snakemake keeps the local copy of an object below ``.snakemake/storage``. Here an object
``<prefix>/results/demo/summary.json`` is the file ``results/demo/summary.json``, in the driver's
folder as in a pod's: paths in the configuration and in results mean the same everywhere. The
hidden record of a result (`snakeshed.result_files`) travels with it.

The driver has the study's inputs and puts them into the bucket. A pod starts with an empty folder,
so it takes from the driver what there is to find in folders: which files the study is made of.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snakeshed.atomic import atomic
from snakeshed.errors import ConfigurationError, MachineError
from snakeshed.result_files import record_of

# Requests at a time: as many connections as a client of botocore keeps.
_AT_ONCE = 10


def bucket_of(workflow: Any, study: str) -> Bucket | None:
    """Return the bucket that a run of Snakemake keeps its files in.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        Before it has made any rule.
    study : str
        The study's name.

    Returns
    -------
    Bucket or None
        None for a run without a default storage provider.

    Raises
    ------
    ConfigurationError
        The storage is no S3 bucket, or none is named, or an archive is asked for.
    MachineError
        Git does not know the checkout. Snakemake sends pods what Git knows.
    """
    settings = workflow.storage_settings
    kind = getattr(settings, "default_storage_provider", None)
    if kind is None:
        return None
    if kind != "s3":
        raise ConfigurationError(
            "--default-storage-provider",
            kind,
            "s3",
            "Use --profile cloud, or for a volume that all nodes can write --profile nautilus.",
        )
    prefix = settings.default_storage_prefix or ""
    if not prefix.removeprefix("s3://").strip("/") or not prefix.startswith("s3://"):
        raise ConfigurationError(
            "--default-storage-prefix",
            prefix or "nothing",
            "a bucket, and a folder in it if you like, such as s3://my-bucket/my-folder",
            "Set it in profiles/cloud/config.yaml, or behind the command.",
        )
    if workflow.is_main_process:
        _check_checkout()
        _check_targets(getattr(workflow.dag_settings, "targets", ()))
    provider = workflow.storage_registry.default_storage_provider
    return Bucket(provider, prefix, study, driver=workflow.is_main_process)


def forget_secret(workflow: Any) -> None:
    """Delete the secret with the bucket's keys that Snakemake's executor has made for its pods.

    The executor itself does so at the end of a run, but not where nothing was to be done.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        At the end of its process.
    """
    executor = getattr(getattr(workflow, "scheduler", None), "_executor", None)
    if hasattr(executor, "unregister_secret"):
        from kubernetes.client.exceptions import OpenApiException
        from urllib3.exceptions import HTTPError

        with suppress(OpenApiException, HTTPError):
            executor.kubeapi.delete_namespaced_secret(executor.run_namespace, executor.namespace)


class Bucket:
    """The files of a study in a bucket, and their copies in the current folder.

    Parameters
    ----------
    provider : snakemake_storage_plugin_s3.StorageProvider
        From now on, its objects have their copies at plain paths.
    prefix : str
        ``s3://bucket``, or a folder there.
    study : str
        The study's name.
    driver : bool
        Whether this process is the driver, which has the inputs, and no job in a pod.
    """

    def __init__(self, provider: Any, prefix: str, study: str, driver: bool) -> None:
        self._name, _, folder = prefix.removeprefix("s3://").strip("/").partition("/")
        self._folder = f"{folder}/" if folder else ""
        self._client = provider.s3c.meta.client
        self.driver = driver
        self._lists = f".snakemake/snakeshed/{study}.lists.json"
        self._sent = Path(f".snakemake/snakeshed/{study}.sent.json")
        self._listed: dict[str, dict[str, list[str]]] | None = {} if driver else None
        self._plugins = Path(sys.modules[type(provider).__module__].__file__).resolve().parents[1]
        _use_plain_paths(provider, self._folder, f"{self._folder}results/{study}/")

    def key(self, path: str | Path) -> str:
        """Return the key of a file."""
        return f"{self._folder}{os.path.relpath(path)}"

    def for_jobs(self, python_path: str) -> str:
        """Return PYTHONPATH without the folder of the storage plugin.

        Its packages are for Snakemake. Jobs have those of the lock file.
        """
        parts = python_path.split(os.pathsep)
        return os.pathsep.join(each for each in parts if Path(each).resolve() != self._plugins)

    def listed(self, name: str, look: Callable[[str], list[str]]) -> Callable[[Any], list[str]]:
        """Return a function that finds files: on the driver by looking, in a pod as the driver did.

        Parameters
        ----------
        name : str
            Of the function.
        look : callable
            Takes a path or pattern, or a list of these, and returns files.
        """

        def find(path: str | list[str]) -> list[str]:
            asked = json.dumps(path)
            if self.driver:
                return self._listed.setdefault(name, {}).setdefault(asked, look(path))
            if self._listed is None:
                self.bring([self._lists])
                self._listed = json.loads(Path(self._lists).read_text(encoding="utf-8"))
            # A file that a job has made was not there to be seen.
            return self._listed.get(name, {}).get(asked, [path] if isinstance(path, str) else path)

        return find

    def send_inputs(self, files: Iterable[str]) -> list[str]:
        """Put the inputs that the bucket does not have as they are here, and the lists for pods.

        Parameters
        ----------
        files : iterable of str

        Returns
        -------
        list of str
            Those that were sent. An object is taken for a file that has its size and is older, if
            none of it has changed since this driver sent it.

        Raises
        ------
        ConfigurationError
            A file is outside of the current folder.
        MachineError
            The bucket cannot be read or written.
        """
        files = sorted(files)
        for file in files:
            if os.path.isabs(file) or ".." in Path(file).parts:
                raise ConfigurationError(
                    file,
                    "an input outside of the folder that Snakemake runs in",
                    "a path below it, which is also the file's name in the bucket",
                    "Move the file there, or link it with ln -s, and change the configuration.",
                )
        sent = self._read_sent()
        with self._told():
            there = self._objects(files)
            missing = [file for file in files if not _is_sent(file, there, sent)]
            self._each(self._send, missing)
            for file in files:
                stat = os.stat(file)
                sent[file] = [stat.st_size, stat.st_mtime_ns]
            with atomic(self._sent, lasting=False) as part:
                part.write_text(json.dumps(sent), encoding="utf-8")
            with atomic(self._lists, lasting=False) as part:
                part.write_text(json.dumps(self._listed), encoding="utf-8")
            self._send(self._lists)
        return missing

    def drop_old(self, files: Iterable[str]) -> None:
        """Remove copies of results of which the bucket has another version, with their records.

        Snakemake takes the checksum of a copy for that of the object.

        Parameters
        ----------
        files : iterable of str
            Hidden ones are left to those that they belong to.
        """
        here = [file for file in files if not os.path.basename(file).startswith(".")]
        with self._told():
            there = self._objects(here)
        for file in here:
            stat = os.stat(file)
            if file in there and there[file] != (stat.st_size, int(stat.st_mtime)):
                os.unlink(file)
                record_of(file).unlink(missing_ok=True)

    def bring(self, files: Iterable[str | Path], required: bool = True) -> None:
        """Bring the files that are not here, and their records.

        Parameters
        ----------
        files : iterable of str or Path
        required : bool
            Whether the bucket has to have all of them.

        Raises
        ------
        FileNotFoundError
            The bucket does not have one, as before a job has made it.
        MachineError
            The bucket cannot be read.
        """
        missing = [str(file) for file in files if not os.path.exists(file)]
        if missing:
            with self._told():
                self._each(self._bring if required else self._bring_if_there, missing)

    def _each(self, do: Callable[[str], None], files: list[str]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for _ in threads.map(do, files):
                pass

    def _send(self, file: str) -> None:
        self._client.upload_file(file, self._name, self.key(file))

    def _bring(self, file: str) -> None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        _with_record(self._client, self._name, self.key(file), file)
        changed = self._client.head_object(Bucket=self._name, Key=self.key(file))["LastModified"]
        # By this time `drop_old` knows it.
        os.utime(file, (changed.timestamp(), changed.timestamp()))

    def _bring_if_there(self, file: str) -> None:
        with suppress(FileNotFoundError):
            self._bring(file)

    def _objects(self, files: list[str]) -> dict[str, tuple[int, int]]:
        """Return size and time (s) of those files that the bucket has, folder by folder."""
        there: dict[str, tuple[int, int]] = {}
        wanted = {self.key(file): file for file in files}
        top = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
        folders = {top} if top else {os.path.dirname(file) for file in files}
        pages = self._client.get_paginator("list_objects_v2")
        for folder in folders:
            prefix = f"{self._folder}{folder}/" if folder else self._folder
            for page in pages.paginate(Bucket=self._name, Prefix=prefix):
                for one in page.get("Contents", ()):
                    if (file := wanted.get(one["Key"])) is not None:
                        there[file] = (one["Size"], int(one["LastModified"].timestamp()))
        return there

    def _read_sent(self) -> dict[str, list[int]]:
        with suppress(OSError, ValueError):
            return dict(json.loads(self._sent.read_text(encoding="utf-8")))
        return {}

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say which bucket it is, where it cannot be used."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise MachineError(
                f"s3://{self._name}",
                f"{type(error).__name__}: {error}",
                "a bucket that exists and that this process can read and write",
                "Check --default-storage-prefix, and the address and keys in "
                "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL, SNAKEMAKE_STORAGE_S3_ACCESS_KEY and "
                "SNAKEMAKE_STORAGE_S3_SECRET_KEY.",
            ) from error


def _check_checkout() -> None:
    known = ["git", "ls-files", "--error-unmatch", "config/schema/study.schema.yaml"]
    try:
        done = subprocess.run(known, capture_output=True, text=True, check=False)
        found = done.returncode and done.stderr.strip().splitlines()[-1]
    except FileNotFoundError:
        found = "no git on this machine"
    if found:
        raise MachineError(
            str(Path.cwd()),
            found,
            "a checkout that Git knows: its files are what Snakemake sends to pods",
            "Run from a clone of the repository, or call git init and git add . here.",
        )


def _check_targets(targets: Iterable[str]) -> None:
    for target in targets:
        if target == "archive" or target.endswith(".zip"):
            raise ConfigurationError(
                target,
                "a run that keeps its files in a bucket",
                "one with all logs, inputs and results at hand, which an archive is made of",
                "Run the study without --profile cloud: its tables will be the same.",
            )


def _is_sent(file: str, there: dict[str, tuple[int, int]], sent: dict[str, list[int]]) -> bool:
    stat = os.stat(file)
    size, changed_s = there.get(file, (None, 0))
    if size != stat.st_size:
        return False
    if file in sent:
        return sent[file] == [stat.st_size, stat.st_mtime_ns]
    return stat.st_mtime <= changed_s


def _with_record(client: Any, bucket: str, key: str, file: str) -> None:
    """Bring an object and the record beside it; the record first, as `result_file` does."""
    from botocore.exceptions import ClientError

    def bring(key: str, file: str) -> None:
        try:
            client.download_file(bucket, key, file)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
            raise FileNotFoundError(file) from error

    with suppress(FileNotFoundError):
        bring(str(record_of(key)), str(record_of(file)))
    bring(key, file)


def _use_plain_paths(provider: Any, folder: str, results: str) -> None:
    """Let a provider's objects have their copies at plain paths, with their records.

    Parameters
    ----------
    provider : snakemake_storage_plugin_s3.StorageProvider
    folder : str
        What the keys of all objects begin with.
    results : str
        What the keys of the study's results begin with: they are looked for all at once.
    """
    from snakemake_interface_storage_plugins.io import Mtime

    base = provider.get_storage_object_cls()

    class PlainPath(base):
        def _local_suffix_from_key(self, key: str) -> str:
            return key.removeprefix(folder)

        def is_dir(self) -> bool:
            # No job makes a folder. The plugin would ask for each file.
            return False

        def retrieve_object(self) -> None:
            client = self.provider.s3c.meta.client
            _with_record(client, self.bucket, self.key, str(self.local_path()))

        def store_object(self) -> None:
            record = record_of(self.local_path())
            if record.is_file():
                client = self.provider.s3c.meta.client
                client.upload_file(str(record), self.bucket, str(record_of(self.key)))
            super().store_object()

        def get_inventory_parent(self) -> str:
            inside = self.key.startswith(results)
            return self.cache_key(results if inside else f"{os.path.dirname(self.key)}/")

        async def inventory(self, cache: Any) -> None:
            parent = self.get_inventory_parent()
            if parent in cache.exists_in_storage:
                return
            prefix = results if self.key.startswith(results) else f"{os.path.dirname(self.key)}/"
            for found in self.s3bucket().objects.filter(Prefix=prefix.lstrip("/")):
                key = self.cache_key(self._local_suffix_from_key(found.key))
                cache.mtime[key] = Mtime(storage=found.last_modified.timestamp())
                cache.size[key] = found.size
                cache.exists_in_storage[key] = True
            cache.exists_in_storage[parent] = True
            # What was not found is not there: no need to ask for it.
            cache.exists_in_storage.has_inventory.add(parent)

    provider.get_storage_object_cls = lambda: PlainPath
    # In full: Snakemake takes a file whose copy has the same name for one that is not in storage.
    provider.local_prefix = Path.cwd()
    # A copy on the driver may be an input, and is never cleaned away.
    provider.keep_local = True
