"""A TCP relay that does harm to what goes through it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

PIECE = 65_536


@dataclass(frozen=True)
class Fault:
    """What happens to a connection.

    Attributes:
        kind: ``none``; ``delay``: pieces come late; ``bytes``: one byte at a time; ``flip``: one bit is another;
            ``cut``: both sides are closed; ``half close``: nothing more comes from one side, which the other side is
            told; ``reset``: both sides are reset; ``vanish``: nothing more comes, and nobody is told.
        to_server: whether it happens on the way to the server, or back.
        at: byte of that way at which it happens; for ``bytes``, up to which.
        bit: of that byte, for ``flip``.
    """

    kind: str = "none"
    to_server: bool = False
    at: int = 0
    bit: int = 0


class FaultProxy:
    """Relays to a port of this machine.

    Attributes:
        fault: what happens to connections from now on.
        struck: connections to which it has happened.
        heard: bytes that came from clients, before any harm.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.fault = Fault()
        self.struck = 0
        self.heard = bytearray()
        self.port = 0

    async def open(self) -> None:
        """Listen; ``port`` says where."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything."""
        self._server.close()
        await self.hang_up()

    async def hang_up(self) -> None:
        """End all connections, whatever has become of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        pair = (writer, upstream)
        for one in pair:
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writers.update(pair)
        there, back = self.fault, Fault()
        if not self.fault.to_server:
            there, back = back, there
        for source, sink, fault in ((reader, upstream, there), (upstream_reader, writer, back)):
            task = asyncio.create_task(self._pump(source, sink, fault, pair, sink is upstream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        fault: Fault,
        pair: tuple[asyncio.StreamWriter, ...],
        to_server: bool,
    ) -> None:
        passed = 0
        try:
            while data := await source.read(PIECE):
                self.heard += data if to_server else b""
                reached = passed <= fault.at < passed + len(data)
                if reached:
                    self.struck += fault.kind != "none"
                if fault.kind == "delay":
                    await asyncio.sleep(0.02)
                elif fault.kind == "bytes":
                    single, data = data[: max(0, fault.at - passed)], data[max(0, fault.at - passed) :]
                    for byte in single:
                        sink.write(bytes([byte]))
                        await sink.drain()
                    passed += len(single)
                elif fault.kind == "flip" and reached:
                    harmed = bytearray(data)
                    harmed[fault.at - passed] ^= 1 << fault.bit
                    data = bytes(harmed)
                elif fault.kind not in ("none", "flip") and reached:
                    sink.write(data[: fault.at - passed])
                    await sink.drain()
                    await self._strike(fault.kind, sink, pair)
                    return
                sink.write(data)
                await sink.drain()
                passed += len(data)
            sink.write_eof()
        except (OSError, RuntimeError):  # the other side is gone: this one learns it the same way
            sink.transport.abort()

    async def _strike(self, kind: str, sink: asyncio.StreamWriter, pair: tuple[asyncio.StreamWriter, ...]) -> None:
        if kind == "half close":
            sink.write_eof()
        elif kind == "vanish":
            await asyncio.Event().wait()
        else:
            for writer in pair:
                if kind == "reset":
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
                else:
                    writer.close()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[FaultProxy]:
    """A proxy, open as long as the context lasts."""
    proxy = FaultProxy(port)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
