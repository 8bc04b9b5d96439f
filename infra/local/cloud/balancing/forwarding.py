"""One TCP connection through the balancer: bytes both ways, half-closed where the peers half-close."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

_CHUNK = 256 * 1024
_LINGER_NOT = struct.pack("ii", 1, 0)
_KEEPALIVE_IDLE_S = 60


async def forward(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter], target: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Carry bytes until both sides have closed. An error on one side, or being cancelled, resets the other."""
    for _, writer in (client, target):
        _keep_alive(writer)
    carriers = [asyncio.create_task(_carry(client[0], target[1])), asyncio.create_task(_carry(target[0], client[1]))]
    try:
        await asyncio.gather(*carriers)
    except (OSError, asyncio.CancelledError):
        reset(client[1])
        reset(target[1])
    finally:
        for carrier in carriers:
            carrier.cancel()
        client[1].close()
        target[1].close()


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a TCP reset, as a load balancer does for a target that is gone."""
    with contextlib.suppress(OSError):
        _socket(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    # A peer whose machine lost its power never closes: without this its connections would stay for ever.
    connection = _socket(writer)
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _socket(writer: asyncio.StreamWriter) -> socket.socket:
    connection: socket.socket = writer.get_extra_info("socket")
    return connection
