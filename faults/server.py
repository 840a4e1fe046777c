"""A local server that fails in the ways in which a network can fail."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("404", "500", "cut", "endless", "drip", "redirect", "scheme", "wrong", "page", "TLS", "closed", "name")


class Server:
    """Serves a file at the path `/right`, and a fault at each path of ``FAULTS``."""

    def __init__(self, content: bytes):
        over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                step = self.path[1:]
                body = {"page": b"<html>Log in", "wrong": bytes(len(content))}.get(step, content)
                with suppress(OSError):  # the client has given up
                    self.send_response({"404": 404, "500": 500, "redirect": 302, "scheme": 302}.get(step, 200))
                    if step in ("redirect", "scheme"):
                        self.send_header("Location", "file:///etc/hostname" if step == "scheme" else self.path)
                    if step not in ("endless", "drip"):
                        self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    while step in ("endless", "drip") and not over.wait(0.1 if step == "drip" else 0):
                        self.wfile.write(b"x" if step == "drip" else bytes(1 << 16))
                    self.wfile.write(body[: len(body) // 2] if step == "cut" else body)

            def log_message(self, *_):
                pass

        self.over, self.http = over, ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()

    def url(self, fault: str) -> str:
        """Return the address of a fault. Three have an address without server, without name, or with TLS."""
        host = f"127.0.0.1:{self.http.server_port}"
        special = {
            "closed": "http://127.0.0.1:9/x",
            "name": "http://no-such-host.invalid/x",
            "TLS": f"https://{host}/x",
        }
        return special.get(fault, f"http://{host}/{fault}")
