"""Bytes by content: budget, what is in use, what goes wrong."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from animax.errors import BusyError, DamagedError, OptionError, UnavailableError, UnknownRigError
from animax.service.jobs.blob_store import BlobStore
from animax.service.jobs.database import Database
from animax.service.jobs.job import NewJob
from animax.service.jobs.job_store import JobStore
from animax.service.jobs.schema import BlobState, blobs
from tests.service.jobs.conftest import limits


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: BlobStore, data: bytes) -> str:
    store.put(name_of(data), data, "name")
    return name_of(data)


def there(store: BlobStore, sha256: str) -> bool:
    with store._database.read() as connection:
        found = sa.exists().where(blobs.c.sha256 == sha256, blobs.c.state == BlobState.READY)
        return bool(connection.scalar(sa.select(found)))


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An S3 server of our own with a bucket."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobStore]:
    """10,000 bytes in each kind of place."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    place = {"file": f"file://{tmp_path}/with a space/blobs", "memory": f"memory://{tmp_path}"}.get(request.param)
    if place is None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
        s3fs = pytest.importorskip("s3fs")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir(tmp_path.name.replace("_", "-"))
        place = f"s3://{tmp_path.name.replace('_', '-')}/prefix"
    yield BlobStore(database, place, 10_000)
    database.close()


def test_what_goes_in_comes_out(anywhere: BlobStore) -> None:
    data = bytes(range(256)) * 20
    sha256 = put(anywhere, data)
    assert anywhere.read(sha256) == (data, "name")
    assert anywhere.touch(sha256)
    assert put(anywhere, data) == sha256
    assert anywhere.nbytes == len(data)
    assert anywhere.read("0" * 64) is None
    assert not anywhere.touch("0" * 64)
    # and out again, for something that needs the room
    other = put(anywhere, b"x" * 9_000)
    assert anywhere.read(sha256) is None
    assert anywhere.read(other) == (b"x" * 9_000, "name")
    assert anywhere.nbytes == 9_000
    assert len(anywhere._files.find(anywhere._root)) == 1


def test_the_least_recently_used_goes_first(blobs: BlobStore) -> None:
    first, second, third = (put(blobs, bytes([i]) * 3_000) for i in range(3))
    assert blobs.read(first)
    put(blobs, b"new" * 1_000)
    assert [there(blobs, sha256) for sha256 in (first, second, third)] == [True, False, True]


def test_rigs_of_jobs_that_have_not_ended_stay(database: Database, blobs: BlobStore) -> None:
    rig = put(blobs, b"r" * 6_000)
    store = JobStore(database, limits())
    job = store.create(NewJob("", "b" * 64, rig, "fake", b""))
    for state in ("queued", "running"):
        with pytest.raises(BusyError) as caught:
            put(blobs, b"x" * 6_000)
        assert caught.value.reason == "STORAGE_FULL"
        assert caught.value.retry_after is not None
        assert there(blobs, rig), state
        store.claim(["fake"])
    store.cancel(job.job_id)
    put(blobs, b"x" * 6_000)
    assert not there(blobs, rig)


def test_what_is_being_read_stays(blobs: BlobStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * 24
    result = put(blobs, data)
    with blobs.opened(result) as found:
        assert found is not None
        reader, _ = found
        begin = reader.read(100)
        with pytest.raises(BusyError):
            put(blobs, b"x" * 6_000)
        assert begin + reader.read() == data
    put(blobs, b"x" * 6_000)
    assert not there(blobs, result)
    assert len(files(tmp_path)) == 1


def test_eviction_never_takes_what_is_in_use_under_concurrency(database: Database, blobs: BlobStore) -> None:
    """Jobs are ordered for rigs while others press for room: whoever got a job keeps the rig."""
    store = JobStore(database, limits())

    def order(index: int) -> str | None:
        with suppress(UnknownRigError, BusyError):  # a client uploads again
            rig = put(blobs, f"rig {index}".encode() * 50)
            store.create(NewJob("", "b" * 64, rig, "fake", b""))
            return rig
        return None

    def press(index: int) -> None:
        with suppress(BusyError):
            put(blobs, f"noise {index}".encode() * 300)

    with ThreadPoolExecutor(6) as threads:
        pressing = [threads.submit(press, index) for index in range(25)]
        kept = [rig for rig in threads.map(order, range(8)) if rig is not None]
        for future in pressing:
            future.result()
    assert kept
    assert all(blobs.read(rig) is not None for rig in kept)
    assert blobs.nbytes <= 10_000


def test_more_than_all_room_is_refused_for_good(blobs: BlobStore) -> None:
    with pytest.raises(BusyError, match="at most 10000") as caught:
        put(blobs, b"x" * 10_001)
    assert caught.value.retry_after is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_typed_error_and_leaves_nothing(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError(number, "no space left on device", "/srv/secret")
            return super().read(100)

    before = blobs.nbytes
    with pytest.raises(BusyError) as caught, blobs.writing("c" * 64, 4_000, Full(b"x" * 4_000)):
        pass
    assert caught.value.reason == "STORAGE_FULL"
    assert "secret" not in str(caught.value)
    assert blobs.nbytes == before
    assert files(tmp_path) == []


def test_a_place_that_cannot_be_reached_is_unavailable(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("endpoint http://10.0.0.7 refused")

    monkeypatch.setattr(blobs._files, "open", fail)
    with pytest.raises(UnavailableError) as caught:
        put(blobs, b"x")
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert "10.0.0.7" not in str(caught.value)


@pytest.mark.parametrize("harm", ["altered", "cut", "deleted"])
def test_damage_is_found_and_the_blob_forgotten(blobs: BlobStore, tmp_path: Path, harm: str) -> None:
    data = b"precious" * 100
    sha256 = put(blobs, data)
    (file,) = files(tmp_path)
    if harm == "altered":
        file.write_bytes(b"P" + data[1:])
    if harm == "cut":
        file.write_bytes(data[:-1])
    if harm == "deleted":
        file.unlink()
    if harm == "deleted":
        assert blobs.read(sha256) is None
    else:
        with blobs.opened(sha256) as found:
            assert found is not None
            with pytest.raises(DamagedError):
                found[0].read()
    assert not there(blobs, sha256)
    blobs.sweep()
    assert files(tmp_path) == []
    assert put(blobs, data) == sha256
    assert blobs.read(sha256) == (data, "name")


def test_the_same_bytes_from_many_sides_are_kept_once(blobs: BlobStore, tmp_path: Path) -> None:
    data = b"same" * 200
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: put(blobs, data), range(12)))
    assert blobs.read(name_of(data)) == (data, "name")
    assert len(files(tmp_path)) == 1
    assert blobs.nbytes == len(data)


def test_what_a_dead_process_left_is_swept(
    database: Database, blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("animax.service.jobs.blob_store.ABANDONED_SECONDS", 0.0)
    writing = blobs.writing("c" * 64, 3_000, io.BytesIO(b"x" * 3_000))
    writing.__enter__()  # and then it is killed
    assert (blobs.nbytes, len(files(tmp_path))) == (3_000, 1)
    assert blobs.sweep() == 1
    assert (blobs.nbytes, files(tmp_path)) == (0, [])


def test_other_places_are_refused_by_name(database: Database) -> None:
    with pytest.raises(OptionError) as caught:
        BlobStore(database, "nothing-known://x", 10)
    assert caught.value.name == "blobs"
