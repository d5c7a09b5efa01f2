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
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snakeshed.atomic import atomic
from snakeshed.errors import ConfigurationError, InputChangedError, MachineError
from snakeshed.result_files import record_of, sha256_of

# Requests at a time: as many connections as a client of botocore keeps.
_AT_ONCE = 10
# What boto3 calls a file while it downloads it.
_PART = re.compile(r"\.[0-9A-Fa-f]{8}$")


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
        self._brought = Path(f".snakemake/snakeshed/{study}.brought.jsonl")
        self._driver = Path(f".snakemake/snakeshed/{study}.driver.json")
        self._results = f"{self._folder}results/{study}/"
        self._owner = f"{self._results}.driver.json"
        self._listed: dict[str, dict[str, list[str]]] | None = {} if driver else None
        self._plugins = Path(sys.modules[type(provider).__module__].__file__).resolve().parents[1]
        _use_plain_paths(provider, self._folder, self._results, self._bring)

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
                known = self._listed.setdefault(name, {})
                if asked not in known:
                    known[asked] = look(path)
                return known[asked]
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
            Those that were sent. An object is taken for a file if neither has changed since this
            driver sent it, or if it has the file's SHA-256.

        Raises
        ------
        ConfigurationError
            A file is outside of the current folder.
        InputChangedError
            Another has replaced an object that results were made from, or a file changes now.
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
            self._check_not_replaced(files, sent, there)

            def is_sent(file: str) -> bool:
                return file in there and sent.get(file) == [*_state_of(file), there[file][2]]

            changed = [file for file in files if not is_sent(file)]
            # A driver that is killed has sent none of these, as far as the next one knows.
            self._write_sent({file: sent[file] for file in sent if file not in changed})

            def send(file: str) -> bool:
                state, digest = _state_of(file), sha256_of(file)
                found, etag = self._digest_and_etag(file) if file in there else (None, None)
                new = found != digest
                if new:
                    self._send(file, digest)
                    found, etag = self._digest_and_etag(file)
                if found != digest or _state_of(file) != state:
                    raise InputChangedError(
                        file,
                        "another content while it was sent to the bucket",
                        "an input that nobody changes, here or in the bucket",
                        "See to it that no other run uses this --default-storage-prefix, and run "
                        "the same command again.",
                    )
                sent[file] = [*state, etag]
                return new

            new = [
                file
                for file, sends in zip(changed, self._each(send, changed), strict=True)
                if sends
            ]
            self._write_sent(sent)
            with atomic(self._lists, lasting=False) as part:
                part.write_text(json.dumps(self._listed), encoding="utf-8")
            self._send(self._lists)
        return new

    def check_inputs(self, files: Iterable[str]) -> None:
        """Compare the objects of inputs with what this driver sent, after jobs have read them.

        Parameters
        ----------
        files : iterable of str

        Raises
        ------
        InputChangedError
            Another has replaced one, and jobs may have read that.
        MachineError
            The bucket cannot be read.
        """
        files = sorted(files)
        with self._told():
            self._check_not_replaced(files, self._read_sent(), self._objects(files))

    def check_owner(self) -> None:
        """See that the bucket has no results of another driver.

        Only the folder in which Snakemake ran knows what it made results from.

        Raises
        ------
        ConfigurationError
            The bucket has results that were made elsewhere.
        MachineError
            The bucket cannot be read.
        """
        with self._told():
            if not self._has_results():
                return
            found = self._driver.with_suffix(".found")
            found.parent.mkdir(parents=True, exist_ok=True)
            try:
                _bring_object(self._client, self._name, self._owner, str(found))
                owner = found.read_bytes()
            except FileNotFoundError:
                owner = None
            finally:
                found.unlink(missing_ok=True)
        if owner is None or owner != self._own():
            raise ConfigurationError(
                f"s3://{self._name}/{self._results}",
                "results that were not made by this folder's last runs with this bucket",
                "no results, or those whose history is in .snakemake here",
                "They may come from another configuration or from other inputs. Run in the folder "
                "they were made from, use another --default-storage-prefix, or delete them from "
                "the bucket.",
            )

    def claim(self) -> None:
        """Write whose results the bucket will have, before the first job makes one.

        Raises
        ------
        ConfigurationError, MachineError
            As for `check_owner`.
        """
        self.check_owner()
        if self._own() is None:
            with atomic(self._driver) as part:
                text = json.dumps({"bucket": self._address(), "driver": uuid.uuid4().hex})
                part.write_text(text, encoding="utf-8")
        with self._told():
            self._client.upload_file(str(self._driver), self._name, self._owner)

    def drop_old(self, files: Iterable[str]) -> None:
        """Remove copies of results of which the bucket has another version, with their records.

        Snakemake takes the checksum of a copy for that of the object.

        Parameters
        ----------
        files : iterable of str
            Hidden ones are left to those that they belong to.

        Raises
        ------
        ConfigurationError
            A file was not brought from the bucket. No file is removed then.
        MachineError
            The bucket cannot be read.
        """
        here = [
            file
            for file in files
            if not os.path.basename(file).startswith(".") and not _PART.search(file)
        ]
        with self._told():
            there = self._objects(here)
        old = [file for file in here if there.get(file, (None, None))[:2] != _version_of(file)]
        brought = self._read_brought()
        for file in old:
            if _version_of(file) not in brought.get(file, ()):
                raise ConfigurationError(
                    file,
                    "a result that was not brought from the bucket, or was changed here",
                    "no results of a run on this machine where those of the bucket go",
                    "Move its folder away or give this study another name; nothing was deleted.",
                )
        for file in old:
            if file in there:
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

    def _each(self, do: Callable[[str], Any], files: list[str]) -> list[Any]:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return list(threads.map(do, files))

    def _send(self, file: str, digest: str | None = None) -> None:
        more = {"ExtraArgs": {"Metadata": {"sha256": digest}}} if digest else {}
        self._client.upload_file(file, self._name, self.key(file), **more)

    def _digest_and_etag(self, file: str) -> tuple[str | None, str]:
        """Return the SHA-256 that a file was sent with, and what tells its object from others."""
        head = self._client.head_object(Bucket=self._name, Key=self.key(file))
        return head.get("Metadata", {}).get("sha256"), head["ETag"]

    def _check_not_replaced(self, files: list[str], sent: dict, there: dict) -> None:
        for file in files:
            if file in sent and there.get(file, (None, None, None))[2] != sent[file][-1]:
                if not self._has_results():
                    return
                raise InputChangedError(
                    f"s3://{self._name}/{self.key(file)}",
                    "another object than this driver sent, or none",
                    "the input as it was sent: jobs may have read another",
                    "Use a --default-storage-prefix that no other folder uses, or delete "
                    f"s3://{self._name}/{self._results} and run the same command again.",
                )

    def _has_results(self) -> bool:
        pages = self._client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._name, Prefix=self._results)
        return any(one["Key"] != self._owner for page in found for one in page.get("Contents", ()))

    def _address(self) -> str:
        return f"{self._client.meta.endpoint_url} s3://{self._name}/{self._folder}"

    def _own(self) -> bytes | None:
        """Return what marks results of this folder; None if their history is not here."""
        with suppress(OSError, ValueError):
            own = self._driver.read_bytes()
            if (
                json.loads(own)["bucket"] == self._address()
                and Path(".snakemake/metadata").is_dir()
            ):
                return own
        return None

    def _bring(self, file: str) -> None:
        """Bring a result with its record, and give it the time by which `drop_old` knows it."""
        try:
            head = self._client.head_object(Bucket=self._name, Key=self.key(file))
        except Exception as error:
            if _is_missing(error):
                raise FileNotFoundError(file) from error
            raise
        changed = head["LastModified"].timestamp()
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        if self.driver:
            self._brought.parent.mkdir(parents=True, exist_ok=True)
            with open(self._brought, "a", encoding="utf-8") as lines:
                lines.write(json.dumps([file, head["ContentLength"], int(changed)]) + "\n")
        _with_record(self._client, self._name, self.key(file), file)
        os.utime(file, (changed, changed))

    def _read_brought(self) -> dict[str, set[tuple[int, int]]]:
        brought: dict[str, set[tuple[int, int]]] = {}
        with suppress(OSError):
            for line in self._brought.read_text(encoding="utf-8").splitlines():
                # The last one may be cut off.
                with suppress(ValueError):
                    file, size, changed_s = json.loads(line)
                    brought.setdefault(file, set()).add((size, changed_s))
        return brought

    def _bring_if_there(self, file: str) -> None:
        with suppress(FileNotFoundError):
            self._bring(file)

    def _objects(self, files: list[str]) -> dict[str, tuple[int, int, str]]:
        """Return size, time (s), and ETag of those files that the bucket has, by folder."""
        there: dict[str, tuple[int, int, str]] = {}
        wanted = {self.key(file): file for file in files}
        top = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
        folders = {top} if top else {os.path.dirname(file) for file in files}
        pages = self._client.get_paginator("list_objects_v2")
        for folder in folders:
            prefix = f"{self._folder}{folder}/" if folder else self._folder
            for page in pages.paginate(Bucket=self._name, Prefix=prefix):
                for one in page.get("Contents", ()):
                    if (file := wanted.get(one["Key"])) is not None:
                        changed_s = int(one["LastModified"].timestamp())
                        there[file] = (one["Size"], changed_s, one["ETag"])
        return there

    def _write_sent(self, sent: dict[str, list]) -> None:
        with atomic(self._sent, lasting=False) as part:
            part.write_text(json.dumps(sent), encoding="utf-8")

    def _read_sent(self) -> dict[str, list]:
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


def _state_of(file: str) -> list[int]:
    stat = os.stat(file)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _version_of(file: str) -> tuple[int, int]:
    """Return size and time (s) of a copy, which are those of its object."""
    stat = os.stat(file)
    return stat.st_size, int(stat.st_mtime)


def _is_missing(error: Exception) -> bool:
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and error.response["Error"]["Code"] in (
        "404",
        "NoSuchKey",
    )


def _bring_object(client: Any, bucket: str, key: str, file: str) -> None:
    try:
        client.download_file(bucket, key, file)
    except Exception as error:
        if _is_missing(error):
            raise FileNotFoundError(file) from error
        raise


def _with_record(client: Any, bucket: str, key: str, file: str) -> None:
    """Bring an object and the record beside it; the record first, as `result_file` does."""
    with suppress(FileNotFoundError):
        _bring_object(client, bucket, str(record_of(key)), str(record_of(file)))
    _bring_object(client, bucket, key, file)


def _use_plain_paths(
    provider: Any, folder: str, results: str, bring: Callable[[str], None]
) -> None:
    """Let a provider's objects have their copies at plain paths, with their records.

    Parameters
    ----------
    provider : snakemake_storage_plugin_s3.StorageProvider
    folder : str
        What the keys of all objects begin with.
    results : str
        What the keys of the study's results begin with: they are looked for all at once.
    bring : callable
        Brings one of them, by its path in the current folder.
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
            if self.key.startswith(results):
                bring(os.path.relpath(self.local_path()))
                return
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
