"""Drives the examples that run other crates over our sockets: with Python's HTTP server, and a WebSocket by hand."""

import base64
import contextlib
import hashlib
import http.server
import os
import signal
import socket
import struct
import threading
import time
import unittest

from driving import PATIENCE, Example, Server, eventually, received_by_server


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


@contextlib.contextmanager
def pages():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.connections = set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def listening(backlog=5):
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        listener.settimeout(PATIENCE)
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


@contextlib.contextmanager
def black_hole():
    """An address that answers nobody: a listener with a queue that is full."""
    with listening(backlog=0) as (listener, url), contextlib.ExitStack() as clients:
        hanging = 0
        while hanging < 2:
            client = clients.enter_context(socket.socket())
            client.settimeout(0.1)
            try:
                client.connect(listener.getsockname())
            except TimeoutError:
                hanging += 1
        yield url


@contextlib.contextmanager
def silent_before_the_answer():
    with listening() as (_, url):
        yield url


@contextlib.contextmanager
def silent_in_the_body():
    """Its one client gets ten bytes of a thousand."""
    with listening() as (listener, url):
        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
                over.wait(PATIENCE)

        over = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield url
        finally:
            over.set()
            thread.join()


class HttpClient(unittest.TestCase):
    def get(self, url, *options):
        with Example("http_client", url, *options) as client:
            output, _ = client.ended(time.monotonic())
            return output

    def test_gets_pages(self):
        with pages() as server:
            for path, said in [
                ("large", f"200 OK, 3 headers\n{len(Pages.large)} bytes\n"),
                ("empty", "200 OK, 3 headers\n0 bytes\n"),
                ("chunked", "200 OK, 3 headers\n24577 bytes\n"),
                ("nowhere", "404 Not Found, 3 headers\n12 bytes\n"),
            ]:
                # The name may have an address more, at which nobody listens.
                for host in ["127.0.0.1", "localhost"]:
                    url = f"http://{host}:{server.server_port}/{path}"
                    self.assertEqual(self.get(url, "--timeout", str(PATIENCE)), said)

    def test_goes_on_with_a_connection_that_is_good(self):
        for path, connections in [("moved", 1), ("moved-and-closed", 2)]:
            with pages() as server:
                said = self.get(f"http://127.0.0.1:{server.server_port}/{path}")
                self.assertEqual(said, "200 OK, 3 headers\n24577 bytes\n")
                self.assertEqual(len(server.connections), connections)

    def test_says_what_failed(self):
        with listening() as (_, url):
            pass
        addr = url.removeprefix("http://").removesuffix("/")
        for url, said in [
            (url, f"io: connect to {addr}: connection refused\n"),
            ("http://no-such-host.invalid/", "io: resolve no-such-host.invalid: "),
        ]:
            with Example("http_client", url) as client:
                _, errors, _ = client.ended_with(1, time.monotonic())
                self.assertEqual(errors[: len(said)], said)

    def test_a_signal_ends_a_request_at_any_stage(self):
        for silent in [black_hole, silent_before_the_answer, silent_in_the_body]:
            for number in [signal.SIGINT, signal.SIGTERM]:
                with self.subTest(silent.__name__, signal=number):
                    fastest = min(self.time_to_signal(silent, number) for _ in range(5))
                    self.assertLess(fastest, 0.05)

    def time_to_signal(self, silent, number):
        with silent() as url, Example("http_client", url) as client:
            if silent is silent_in_the_body:
                client.until_said("200 OK, 1 headers")
            else:
                eventually(lambda: is_connecting_or_connected(url))
            client.until_all_sleep(1)
            begin = time.monotonic()
            client.process.send_signal(number)
            output, errors, took = client.ended_with(1, begin)
            self.assertEqual((output, errors), ("", "ended by a signal\n"))
            return took

    def test_another_thread_ends_a_request_at_any_stage(self):
        self.ends_in_time("--after", "ended by another thread\n")

    def test_a_limit_ends_a_request_at_any_stage(self):
        self.ends_in_time("--timeout", "timeout: global\n")

    def ends_in_time(self, option, said):
        for silent in [black_hole, silent_before_the_answer, silent_in_the_body]:
            with self.subTest(silent.__name__):
                times = []
                for _ in range(3):
                    with silent() as url:
                        begin = time.monotonic()
                        with Example("http_client", url, option, "0.2") as client:
                            _, errors, took = client.ended_with(1, begin)
                    self.assertEqual(errors, said)
                    self.assertGreaterEqual(took, 0.2)
                    times.append(took)
                self.assertLess(min(times), 0.5)


def is_connecting_or_connected(url):
    """Whether somebody, other than the test, is a client of the address."""
    address = f"0100007F:{int(url.split(':')[2].strip('/')):04X}"
    with open("/proc/net/tcp") as table:
        rows = [row.split() for row in table]
    # Of a black hole, all that hang are in SYN_SENT: two of the test's own, and then one more.
    connecting = [row for row in rows if row[2] == address and row[3] == "02"]
    connected = [row for row in rows if row[2] == address and row[3] == "01"]
    return len(connecting) > 2 or not connecting and len(connected) > 0


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NORMAL, GOING_AWAY = struct.pack("!H", 1000), struct.pack("!H", 1001)
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
    def server(self):
        return Server("web_socket", command=["server"])

    def client(self, port, *texts):
        return Example("web_socket", "client", f"ws://127.0.0.1:{port}/", *texts)

    def test_the_server_echoes(self):
        with self.server() as server, Peer.connect(server.port) as client:
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
        with listening() as (listener, url), self.client(listener.getsockname()[1], "hello", "höher") as client:
            with Peer.accept(listener) as server:
                for text in ["hello", "höher"]:
                    self.assertEqual(server.receive(), (TEXT, text.encode()))
                    server.send(TEXT, text.upper().encode())
                    client.until_said(text.upper())
                self.assertEqual(server.receive(), (CLOSE, NORMAL))
                server.send(CLOSE, NORMAL)
            client.ended(time.monotonic())

    def test_server_and_client(self):
        with self.server() as server:
            texts = ["hello", "", "höher", "x" * 100_000]
            with self.client(server.port, *texts) as client:
                output, _ = client.ended(time.monotonic())
                self.assertEqual(output, "".join(text + "\n" for text in texts))

    def test_a_client_that_speaks_something_else_harms_no_other(self):
        with self.server() as server, Peer.connect(server.port) as client:
            for wrong in [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b""]:
                with server.client() as other:
                    other.send(wrong)
                    other.socket.shutdown(socket.SHUT_WR)
                    other.lines.read()
            self.assertEqual(client.ask(TEXT, b"hello"), (TEXT, b"hello"))

    def test_a_signal_ends_the_server_and_its_idle_clients(self):
        for number in [signal.SIGINT, signal.SIGTERM]:
            fastest = min(self.time_to_end(number) for _ in range(5))
            self.assertLess(fastest, 0.05)

    def time_to_end(self, number):
        with self.serving_idle_clients() as (server, clients):
            begin = time.monotonic()
            server.process.send_signal(number)
            for client in clients:
                self.assertEqual(client.receive(), (CLOSE, GOING_AWAY))
                client.send(CLOSE, GOING_AWAY)
                self.assertEqual(client.bytes.read(), b"")
            output, errors, took = server.ended_with(0, begin)
            self.assertEqual((output, errors), ("stopped\n", ""))
            return took

    @contextlib.contextmanager
    def serving_idle_clients(self):
        """A server whose threads all wait: for the first word of one client, and the next one of three."""
        with self.server() as server, server.client() as silent, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Peer.connect(server.port)) for _ in range(3)]
            self.assertEqual(clients[0].ask(TEXT, b"hello"), (TEXT, b"hello"))
            server.until_all_sleep(5)
            yield server, clients
            self.assertEqual(silent.lines.read(), b"")

    def test_a_message_cut_short_harms_no_goodbye(self):
        with self.serving_idle_clients() as (server, clients):
            frames = [client.frame(TEXT, b"hello") for client in clients]
            for client, frame in zip(clients, frames):
                client.connection.sendall(frame[:7])
            eventually(lambda: received_by_server(server.port))
            server.until_all_sleep(5)
            server.process.send_signal(signal.SIGINT)
            for client, frame in zip(clients, frames):
                self.assertEqual(client.receive(), (CLOSE, GOING_AWAY))
                client.connection.sendall(frame[7:])
                client.send(CLOSE, GOING_AWAY)
                self.assertEqual(client.bytes.read(), b"")
            server.ended(time.monotonic())

    def test_clients_that_answer_no_goodbye_have_a_second(self):
        with self.serving_idle_clients() as (server, _):
            _, took = server.stop(signal.SIGINT)
            self.assertGreaterEqual(took, 1)

    def test_a_second_signal_ends_all_at_once(self):
        with self.serving_idle_clients() as (server, clients):
            begin = time.monotonic()
            server.process.send_signal(signal.SIGINT)
            self.assertEqual(clients[0].receive(), (CLOSE, GOING_AWAY))
            server.process.send_signal(signal.SIGINT)
            _, errors, took = server.ended_with(0, begin)
            self.assertEqual(errors, "")
            self.assertLess(took, 1)

    def test_a_signal_ends_the_client(self):
        with listening() as (listener, _), self.client(listener.getsockname()[1], "hello") as client:
            with Peer.accept(listener) as server:
                self.assertEqual(server.receive(), (TEXT, b"hello"))
                client.until_all_sleep(1)
                begin = time.monotonic()
                client.process.send_signal(signal.SIGINT)
                _, errors, _ = client.ended_with(1, begin)
                self.assertRegex(errors, "shut down")


if __name__ == "__main__":
    unittest.main(verbosity=2)
