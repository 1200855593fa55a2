"""The gRPC service: rigs in, streams of joint rotations out."""

from animax.service.config import ServerConfig
from animax.service.server import Server, serve

__all__ = ["Server", "ServerConfig", "serve"]
