"""Uploaded rigs in memory: by content, least recently used out first, never one that is in use.

Behind them may lie a disk that keeps their files, over restarts and for other servers too.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from animax.assets.markers import choose_markers
from animax.assets.rig import Rig
from animax.errors import BusyError, QuotaError, RigError, UnknownRigError
from animax.service.access.caller import caller
from animax.v1 import asset_service_pb2 as asset_pb
from animax.wire.clip import CONTENT_BYTES
from animax.wire.rig import rig_message

Parse = Callable[[bytes, str], Rig]
"""File bytes and name to rig; called in a thread."""
EVICTION_RETRY = 5.0
"""Seconds: rigs are in use for about as long as a request runs."""


class RigDisk(Protocol):
    """Files of rigs that outlive the process."""

    async def touch(self, rig_id: str) -> bool:
        """Whether the file is there; it is recently used then."""

    async def read(self, rig_id: str) -> tuple[bytes, str] | None:
        """Bytes and name of the file; None when it is not there."""

    async def put(self, rig_id: str, data: bytes, name: str, owner: str, most: int | None) -> None:
        """Keep a file of ``owner``, who may have ``most`` bytes; raises ``BusyError`` when there is no room."""

    async def owned(self, owner: str) -> int:
        """Bytes of files that ``owner`` brought."""


@dataclass(eq=False)
class StoredRig:
    """A rig in the store.

    Attributes:
        rig: the rig.
        message: what an upload of it answers.
        nbytes: memory it takes, estimated.
        users: leases out.
        owner: who brought it.
        size: bytes of its file.
    """

    rig: Rig
    message: asset_pb.Rig
    nbytes: int
    users: int = field(default=0)
    owner: str = ""
    size: int = 0


class RigStore:
    """At most ``max_bytes`` of rigs. Belongs to one event loop; parsing runs in ``executor``.

    Attributes:
        hits: how often a rig was fetched that was in memory.
        misses: how often one was not.
    """

    def __init__(self, parse: Parse, max_bytes: int, executor: Executor, disk: RigDisk | None = None) -> None:
        self._parse = parse
        self._max_bytes = max_bytes
        self._executor = executor
        self._disk = disk
        self._rigs: OrderedDict[str, StoredRig] = OrderedDict()
        self._coming: Counter[str] = Counter()
        self._parsing: dict[str, asyncio.Task[StoredRig]] = {}
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._rigs)

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return sum(stored.nbytes for stored in self._rigs.values())

    def find(self, rig_id: str) -> StoredRig | None:
        """The rig in memory, now recently used; None when it is not there."""
        stored = self._rigs.get(rig_id)
        if stored is not None:
            self._rigs.move_to_end(rig_id)
        return stored

    async def fetch(self, rig_id: str) -> StoredRig | None:
        """The rig, from disk if it is not in memory; None when it is nowhere.

        Raises:
            BusyError: there is no room for it in memory.
            UnavailableError: the disk cannot be reached.
        """
        here = rig_id in self._rigs
        self.hits += here
        self.misses += not here
        return await self._wanted(rig_id)

    async def keeps(self, rig_id: str) -> StoredRig | None:
        """The rig, if all that can be asked for with it can be done without another upload; else None.

        Raises:
            BusyError, UnavailableError: as ``fetch``.
        """
        if self._disk is not None and not await self._disk.touch(rig_id):
            return None
        return await self._wanted(rig_id)

    async def _wanted(self, rig_id: str) -> StoredRig | None:
        stored = self.find(rig_id)
        if stored is not None or self._disk is None:
            return stored
        file = await self._disk.read(rig_id)
        return None if file is None else await self._shared(rig_id, *file)

    @contextmanager
    def lease(self, rig_id: str) -> Iterator[StoredRig]:
        """The rig, kept in the store as long as the context lasts.

        Raises:
            UnknownRigError: it is not there.
        """
        stored = self.find(rig_id)
        if stored is None:
            raise UnknownRigError(f"rig {rig_id} is not here; upload it (again)")
        stored.users += 1
        try:
            yield stored
        finally:
            stored.users -= 1

    async def admit(self, size: int) -> None:
        """Return if the caller may bring a file of so many bytes.

        Raises:
            QuotaError: its rigs would take too much.
        """
        who = caller()
        if who.identity.quotas.asset_bytes is not None:
            owned = self._owned(who.name) if self._disk is None else await self._disk.owned(who.name)
            require_room(owned, size, who.identity.quotas.asset_bytes)

    def _owned(self, owner: str) -> int:
        return sum(stored.size for stored in self._rigs.values() if stored.owner == owner) + self._coming[owner]

    async def put(self, rig_id: str, data: bytes, name: str) -> StoredRig:
        """Parse a file and keep its rig, on disk too. Uploads of one file at the same time share one parse.

        Raises:
            AssetError, RigError: from parsing.
            BusyError: there is no room, because the rigs in the store are in use.
            QuotaError: the caller's rigs would take too much.
        """
        who = caller()
        most = who.identity.quotas.asset_bytes
        stored = self.find(rig_id)
        if stored is None:
            if self._disk is None and most is not None:
                require_room(self._owned(who.name), len(data), most)
            self._coming[who.name] += len(data)  # counted at once: several may be on their way
            try:
                stored = await self._shared(rig_id, data, name)
                if not stored.owner:
                    stored.owner = who.name
            finally:
                self._coming[who.name] -= len(data)
                if not self._coming[who.name]:
                    del self._coming[who.name]
        if self._disk is not None:
            await self._disk.put(rig_id, data, name, who.name, most)
        return stored

    async def _shared(self, rig_id: str, data: bytes, name: str) -> StoredRig:
        task = self._parsing.get(rig_id)
        if task is None:
            task = asyncio.create_task(self._read(rig_id, data, name))
            self._parsing[rig_id] = task
            task.add_done_callback(lambda done: self._parsed(rig_id, done))
        # shielded: one client that leaves must not take the rig from the others
        return await asyncio.shield(task)

    def _parsed(self, rig_id: str, task: asyncio.Task[StoredRig]) -> None:
        del self._parsing[rig_id]
        if not task.cancelled():
            task.exception()  # seen: uploaders that are gone must not leave a complaint in the log

    async def _read(self, rig_id: str, data: bytes, name: str) -> StoredRig:
        stored = await asyncio.get_running_loop().run_in_executor(self._executor, self._stored, data, name)
        self._make_room(stored.nbytes)
        self._rigs[rig_id] = stored
        return stored

    def _stored(self, data: bytes, name: str) -> StoredRig:
        rig = self._parse(data, name)
        message = rig_message(rig, choose_markers(rig).drivers.tolist())
        if message.ByteSize() > CONTENT_BYTES:
            size = sum(len(joint.encode()) for joint in rig.skeleton.names)
            raise RigError(
                f"the skeleton takes {message.ByteSize()} bytes ({size} in names); accepted: {CONTENT_BYTES}"
            )
        return StoredRig(rig, message, len(data) + memory_of(rig), size=len(data))

    def _make_room(self, nbytes: int) -> None:
        if nbytes > self._max_bytes:
            text = f"the rig takes {nbytes} bytes of memory; accepted: at most {self._max_bytes}"
            raise BusyError(text, reason="MEMORY_FULL")
        excess = self.nbytes + nbytes - self._max_bytes
        victims = []
        for rig_id, stored in self._rigs.items():
            if excess <= 0:
                break
            if not stored.users:
                victims.append(rig_id)
                excess -= stored.nbytes
        if excess > 0:
            text = f"there is no room for {nbytes} more bytes of rigs: those here are in use"
            raise BusyError(text, reason="MEMORY_FULL", retry_after=EVICTION_RETRY)
        for rig_id in victims:
            del self._rigs[rig_id]


def memory_of(rig: Rig) -> int:
    """Bytes of a rig's arrays and textures, without its file."""
    mesh = rig.mesh
    arrays = (mesh.positions, mesh.normals, mesh.texcoords, mesh.colors, mesh.triangles, mesh.triangle_materials)
    bound = (mesh.bindings, mesh.weights, mesh.inverse_binds, rig.rest_vertices)
    textures = [m.texture for m in mesh.materials if m.texture is not None]
    return sum(array.nbytes for array in (*arrays, *bound)) + sum(texture.nbytes for texture in textures)


def require_room(owned: int, size: int, most: int) -> None:
    """Return if ``size`` more bytes of files fit beside those that are ``owned``.

    Raises:
        QuotaError: they do not.
    """
    if owned + size > most:
        text = f"this caller's rigs take {owned} bytes, and {size} more are to come; accepted: at most {most}"
        raise QuotaError("asset_bytes", text)
