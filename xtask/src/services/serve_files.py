"""Serves the files of a folder over HTTP/1.1, to one user or to everybody."""

import base64
import functools
import http.server
import ssl
import sys

port, folder, user, certificate, key = sys.argv[1:]
accepted = "Basic " + base64.b64encode(user.encode()).decode()


class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path.startswith("/private/") and self.headers.get("Authorization") != accepted:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", int(port)), functools.partial(Files, directory=folder))
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
