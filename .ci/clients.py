"""Drives the examples with clients and servers that aren't ours: nc, curl, OpenSSL, Python's own for HTTP and https, and a
WebSocket by hand.

What the examples promise beside that, tests/examples tries.
"""

import base64
import contextlib
import fcntl
import functools
import hashlib
import http.server
import os
import pathlib
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PATIENCE = 20
EXAMPLES = pathlib.Path("target/debug/examples").resolve()

# Runs a command as root of a network and of mounts that are its own.
APART = ["unshare", "--user", "--map-root-user", "--net", "--mount"]


class Example:
    """An example that is running."""

    def __init__(self, example, *arguments, before=()):
        self.process = subprocess.Popen(
            [*before, EXAMPLES / example, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def until_said(self, line):
        said = self.process.stdout.readline()
        assert said == line + "\n", said

    def end(self):
        """Its exit code, and what it said that wasn't read before."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors


class Server(Example):
    """An example that listens on a free port."""

    def __init__(self, example, *options, command=()):
        super().__init__(example, *command, "127.0.0.1:0", *options)
        first = self.process.stdout.readline()
        self.port = int(re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", first)[1])


def run(example, *arguments):
    with Example(example, *arguments) as running:
        return running.end()


def nc(*arguments):
    """What nc prints that sends 5."""
    command = ["nc", "-N", *map(str, arguments)]
    return subprocess.run(
        command, input="5\n", capture_output=True, text=True, timeout=PATIENCE, check=True,
    ).stdout


def eventually(look):
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end


class InTemporaryDirectory(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)


class LineServers(InTemporaryDirectory):
    SERVERS = [
        ("accept_loop",),
        ("event_queue", "--worker-share", "0"),
        ("event_queue", "--worker-share", "1"),
        ("wait_event",),
        ("line_server",),
    ]

    def test_nc(self):
        for server in self.SERVERS:
            with self.subTest(server), Server(*server) as running:
                self.assertEqual(nc("127.0.0.1", running.port), "15\n")

    def test_nc_on_a_unix_domain_socket(self):
        path = self.directory / "socket"
        with Example("unix_server", path) as server:
            server.until_said(f"listening on {path}")
            self.assertEqual(nc("-U", path), "15\n")

    def test_curl(self):
        for server in self.SERVERS:
            with self.subTest(server), Server(*server) as running:
                curl = subprocess.Popen(
                    ["curl", "--silent", "--no-buffer", f"telnet://127.0.0.1:{running.port}"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
                curl.stdin.write("7\n")
                curl.stdin.flush()
                self.assertEqual(curl.stdout.readline(), "21\n")
                # The idle client is ended with the server.
                running.process.send_signal(signal.SIGINT)
                code, output, errors = running.end()
                self.assertEqual((code, errors), (0, ""))
                self.assertRegex(output, r"(?m)^stopped( in \d+ ms: 1 finished, 0 forced)?$")
                curl.communicate(timeout=PATIENCE)


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    large = bytes(range(256)) * 12345

    def do_GET(self):
        self.server.connections.add(self.client_address)
        match self.path:
            case "/large":
                self.answer(200, self.large)
            case "/empty":
                self.answer(200, b"")
            case "/moved":
                self.answer(302, b"elsewhere", Location="/chunked")
            case "/moved-and-closed":
                # The end of the stream comes in the same segment.
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                self.answer(302, b"elsewhere", Location="/chunked")
                self.connection.shutdown(socket.SHUT_WR)
                self.close_connection = True
            case "/chunked":
                self.answer(200, None, **{"Transfer-Encoding": "chunked"})
                for size in [1, 8191, 8192, 8193, 0]:
                    self.wfile.write(f"{size:x}\r\n".encode() + b"x" * size + b"\r\n")
            case _:
                self.answer(404, b"no such page")

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """Of a client that goes away, which is its right."""


@contextlib.contextmanager
def serving(handler, context=None):
    """Python's HTTP server, or one for https."""
    with (QuietServer if context else http.server.ThreadingHTTPServer)(("127.0.0.1", 0), handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.connections = set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class HttpClient(unittest.TestCase):
    def get(self, url, *options):
        code, output, errors = run("http_client", url, *options)
        self.assertEqual((code, errors), (0, ""))
        return output

    def test_gets_pages(self):
        with serving(Pages) as server:
            for path, said in [
                ("large", f"200 OK, 3 headers\n{len(Pages.large)} bytes\n"),
                ("empty", "200 OK, 3 headers\n0 bytes\n"),
                ("chunked", "200 OK, 3 headers\n24577 bytes\n"),
                ("nowhere", "404 Not Found, 3 headers\n12 bytes\n"),
            ]:
                # The name may have an address more, at which nobody listens.
                for host in ["127.0.0.1", "localhost"]:
                    url = f"http://{host}:{server.server_port}/{path}"
                    self.assertEqual(self.get(url, "--timeout", PATIENCE), said)

    def test_goes_on_with_a_connection_that_is_good(self):
        for path, connections in [("moved", 1), ("moved-and-closed", 2)]:
            with serving(Pages) as server:
                said = self.get(f"http://127.0.0.1:{server.server_port}/{path}")
                self.assertEqual(said, "200 OK, 3 headers\n24577 bytes\n")
                self.assertEqual(len(server.connections), connections)


class Download(InTemporaryDirectory):
    def test_from_pythons_server(self):
        content = os.urandom(3_000_000)
        served, file = self.directory / "served", self.directory / "file"
        (served / "directory").mkdir(parents=True)
        (served / "content").write_bytes(content)
        with serving(functools.partial(QuietFiles, directory=served)) as server:
            url = f"http://127.0.0.1:{server.server_port}/"
            self.assertEqual(run("download", url + "content", file), (0, f"{file} is there\n", ""))
            self.assertEqual(file.read_bytes(), content)
            for name, why in [
                ("missing", "HTTP/1.0 404 File not found"),
                ("directory", "HTTP/1.0 301 Moved Permanently: it is at /directory/"),
            ]:
                missing = self.directory / "none"
                ended = run("download", url + name, missing)
                self.assertEqual(ended, (1, "", f"{why}, while waiting for 127.0.0.1\n"))
                self.assertFalse(missing.exists())

    def test_ctrl_c_while_it_looks_up_the_name(self):
        if subprocess.run([*APART, "true"], capture_output=True).returncode != 0:
            self.skipTest("no namespaces for ordinary users")
        before = [*APART, sys.executable, __file__, "with-silent-dns"]
        with Example("download", "http://slow.test/", self.directory / "file", before=before) as download:
            eventually(lambda: was_asked_for_a_name(download.process.pid))
            download.process.send_signal(signal.SIGINT)
            self.assertEqual(download.end(), (130, "", "stopped while looking up slow.test\n"))


def was_asked_for_a_name(pid):
    """Whether a question waits at the name server of that process's network."""
    try:
        with open(f"/proc/{pid}/net/udp") as rows:
            fields = [row.split() for row in rows]
    except FileNotFoundError:
        return False
    return any(row[1] == "0100007F:0035" and not row[4].endswith(":00000000") for row in fields)


# netdevice(7)
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def with_silent_dns(command):
    """Runs the command in this network, which is empty, with a name server that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    server.set_inheritable(True)
    with tempfile.NamedTemporaryFile("w") as resolv, tempfile.NamedTemporaryFile("w") as nsswitch:
        resolv.write("nameserver 127.0.0.1\n")
        nsswitch.write("hosts: files dns\n")
        for written, place in [(resolv, "/etc/resolv.conf"), (nsswitch, "/etc/nsswitch.conf")]:
            written.flush()
            # Where there is none, the C library does the same by itself.
            if os.path.exists(place):
                subprocess.run(["mount", "--bind", written.name, os.path.realpath(place)], check=True)
    os.execv(command[0], command)


class Certified(InTemporaryDirectory):
    """Has a certificate for localhost."""

    def setUp(self):
        super().setUp()
        self.cert, self.key = self.directory / "cert.pem", self.directory / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", self.key, "-out", self.cert],
            check=True, capture_output=True,
        )


class TlsServer(Certified):
    def servers(self):
        """One with a certificate that it is given, one with one of its own; and what a client trusts."""
        own = self.directory / "own.pem"
        yield ("--cert", self.cert, "--key", self.key), self.cert
        yield ("--write-cert", own), own

    def test_openssl(self):
        for options, trusted in self.servers():
            for version in ["-tls1_2", "-tls1_3"]:
                with self.subTest(options, version=version), Server("tls_server", *options) as server:
                    client = subprocess.Popen(
                        ["openssl", "s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost", version,
                         "-CAfile", trusted, "-connect", f"127.0.0.1:{server.port}"],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                    )
                    client.stdin.write("5\n7\n")
                    client.stdin.flush()
                    self.assertEqual([client.stdout.readline(), client.stdout.readline()], ["15\n", "21\n"])
                    server.process.send_signal(signal.SIGINT)
                    self.assertEqual(server.end()[::2], (0, ""))
                    client.communicate(timeout=PATIENCE)
                    self.assertEqual(client.returncode, 0)

    def test_curl(self):
        for options, trusted in self.servers():
            with self.subTest(options), Server("tls_server", *options) as server:
                # Asks for 7, and reads until the end.
                curl = subprocess.Popen(
                    ["curl", "--silent", "--show-error", "--no-buffer", "--cacert", trusted,
                     f"gophers://localhost:{server.port}/17"],
                    stdout=subprocess.PIPE, text=True,
                )
                self.assertEqual(curl.stdout.readline(), "21\n")
                # The idle client is ended with the server, and told.
                server.process.send_signal(signal.SIGINT)
                code, output, errors = server.end()
                self.assertEqual((code, errors), (0, ""))
                self.assertRegex(output, r"(?m)^stopped in \d+ ms: 1 finished, 0 forced$")
                curl.communicate(timeout=PATIENCE)
                self.assertEqual(curl.returncode, 0)

    def test_curl_that_trusts_nobody(self):
        with Server("tls_server", "--cert", self.cert, "--key", self.key) as server:
            url = f"gophers://localhost:{server.port}/17"
            refused = subprocess.run(["curl", "--silent", url], capture_output=True, timeout=PATIENCE)
            self.assertEqual(refused.returncode, 60)
            self.assertRegex(server.process.stderr.readline(), "^start_tls_server with 127.0.0.1:.*: .*UnknownCA")


class HttpsClients(Certified):
    def test_openssl(self):
        for version in ["-tls1_2", "-tls1_3"]:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            server = subprocess.Popen(
                ["openssl", "s_server", "-www", version, "-accept", f"127.0.0.1:{port}", "-cert", self.cert, "-key", self.key],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
            try:
                while server.stdout.readline() != "ACCEPT\n":
                    pass
                code, output, errors = run("tls_client", f"localhost:{port}", "--ca", self.cert)
                self.assertEqual(code, 0, errors)
                self.assertRegex(errors, r"^TLSv1\.[23], TLS\w+\n$")
                self.assertTrue(output.startswith("HTTP/1.0 200 ok\n"), output)
                self.assertIn("</html>", output.lower())
                code, output, errors = run("http_client", f"https://localhost:{port}/", "--ca", self.cert)
                self.assertEqual((code, errors), (0, ""))
                self.assertRegex(output, r"^200 OK, 1 headers\n\d+ bytes\n$")
            finally:
                server.kill()
                server.communicate()

    def test_pythons_server(self):
        content = os.urandom(3_000_000)
        served, file = self.directory / "served", self.directory / "file"
        served.mkdir()
        (served / "content").write_bytes(content)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        with serving(functools.partial(QuietFiles, directory=served), context) as server:
            url = f"https://127.0.0.1:{server.server_port}/content"
            self.assertEqual(run("download", url, file, "--ca", self.cert), (0, f"{file} is there\n", ""))
            self.assertEqual(file.read_bytes(), content)
            said = run("http_client", url, "--ca", self.cert)
            self.assertEqual(said, (0, f"200 OK, 5 headers\n{len(content)} bytes\n", ""))
            # Who isn't trusted gets nothing.
            code, output, errors = run("download", url, file)
            self.assertEqual((code, output), (1, ""))
            self.assertRegex(errors, "^start_tls with 127.0.0.1:.*certificate.*, while shaking hands with 127.0.0.1\n$")


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NORMAL = struct.pack("!H", 1000)
LAST = 0x80


class Peer:
    """One end of a WebSocket: RFC 6455, section 5."""

    def __init__(self, connection, is_client):
        self.connection = connection
        self.bytes = connection.makefile("rb")
        self.is_client = is_client

    @classmethod
    def connect(cls, port):
        peer = cls(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE), is_client=True)
        key = base64.b64encode(os.urandom(16)).decode()
        peer.connection.sendall(
            f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        status, headers = peer.head()
        assert status.startswith("HTTP/1.1 101 "), status
        assert headers["sec-websocket-accept"] == answer_to(key), headers
        return peer

    @classmethod
    def accept(cls, listener):
        peer = cls(listener.accept()[0], is_client=False)
        _, headers = peer.head()
        peer.connection.sendall(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {answer_to(headers['sec-websocket-key'])}\r\n\r\n".encode()
        )
        return peer

    def head(self):
        lines = [line.decode().strip() for line in iter(self.bytes.readline, b"\r\n")]
        pairs = [line.split(": ", 1) for line in lines[1:]]
        return lines[0], {name.lower(): value for name, value in pairs}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bytes.close()
        self.connection.close()

    def frame(self, opcode, data, first_bits=LAST):
        if len(data) < 126:
            length, more = len(data), b""
        elif len(data) < 65536:
            length, more = 126, struct.pack("!H", len(data))
        else:
            length, more = 127, struct.pack("!Q", len(data))
        head = bytes([first_bits | opcode, length | (0x80 if self.is_client else 0)]) + more
        if not self.is_client:
            return head + data
        mask = os.urandom(4)
        return head + mask + masked(data, mask)

    def send(self, opcode, data):
        self.connection.sendall(self.frame(opcode, data))

    def receive(self):
        first, second = self.bytes.read(2)
        assert first & LAST, "the message is whole"
        assert (second & 0x80 != 0) != self.is_client, "clients mask, servers don't"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.bytes.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.bytes.read(8))
        mask = bytes(4) if self.is_client else self.bytes.read(4)
        return first & 0x0F, masked(self.bytes.read(length), mask)

    def ask(self, opcode, data):
        self.send(opcode, data)
        return self.receive()


def answer_to(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def masked(data, mask):
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


class WebSocket(unittest.TestCase):
    def test_the_server_echoes(self):
        with Server("web_socket", command=["server"]) as server, Peer.connect(server.port) as client:
            for data in [b"", b"hello", "höher".encode(), b"x" * 125, b"x" * 126, b"x" * 70000]:
                self.assertEqual(client.ask(TEXT, data), (TEXT, data))
                self.assertEqual(client.ask(BINARY, data[::-1]), (BINARY, data[::-1]))
            self.assertEqual(client.ask(PING, b"there?"), (PONG, b"there?"))
            # In pieces, with a ping between them; and two at once.
            client.connection.sendall(client.frame(TEXT, b"hel", 0))
            self.assertEqual(client.ask(PING, b""), (PONG, b""))
            self.assertEqual(client.ask(0, b"lo"), (TEXT, b"hello"))
            client.connection.sendall(client.frame(TEXT, b"one") + client.frame(TEXT, b"two"))
            self.assertEqual([client.receive(), client.receive()], [(TEXT, b"one"), (TEXT, b"two")])
            self.assertEqual(client.ask(CLOSE, NORMAL), (CLOSE, NORMAL))
            self.assertEqual(client.bytes.read(), b"")

    def test_the_client_of_a_server_by_hand(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE)
            url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
            with Example("web_socket", "client", url, "hello", "höher") as client, Peer.accept(listener) as server:
                for text in ["hello", "höher"]:
                    self.assertEqual(server.receive(), (TEXT, text.encode()))
                    server.send(TEXT, text.upper().encode())
                    client.until_said(text.upper())
                self.assertEqual(server.receive(), (CLOSE, NORMAL))
                server.send(CLOSE, NORMAL)
                server.connection.shutdown(socket.SHUT_WR)
                self.assertEqual(client.end(), (0, "", ""))


if __name__ == "__main__":
    if sys.argv[1:2] == ["with-silent-dns"]:
        with_silent_dns(sys.argv[2:])
    unittest.main(verbosity=2)
