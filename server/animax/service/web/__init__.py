"""gRPC-Web over HTTP/1.1: the same services for browsers, and for engines that speak no HTTP/2."""

from animax.service.web.listener import WebListener

__all__ = ["WebListener"]
