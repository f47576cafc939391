"""Drives the ports of U++'s programs: among themselves, and with Python's sockets and nc."""

import contextlib
import datetime
import fcntl
import functools
import http.server
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

from driving import PATIENCE, Server, eventually, received_by_server

# Runs a command as root of a network and of mounts that are its own.
APART = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
EXAMPLES = pathlib.Path("target/debug/examples").resolve()


def run(example, *arguments):
    command = [EXAMPLES / example, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def assert_is_now(answer):
    said = datetime.datetime.fromisoformat(answer.replace("Z", "+00:00"))
    now = datetime.datetime.now(datetime.timezone.utc)
    assert abs((now - said).total_seconds()) < 10, answer


class InTemporaryDirectory(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)


class LineServer(unittest.TestCase):
    def test_answers_one_request_of_each_client(self):
        with Server("line_server") as server:
            for question, answer in [(b"14", "42\n"), (b"-14\r", "-42\n"), (b"no number", "0\n")]:
                with server.client() as client:
                    port = client.socket.getsockname()[1]
                    self.assertEqual(client.ask(question), answer)
                    self.assertEqual(client.line(), "")
                asked = question.decode().rstrip()
                server.until_said(f'request: "{asked}" from: 127.0.0.1:{port}')
            with server.client() as client:
                assert_is_now(client.ask(b"time").strip())

    def test_nc(self):
        with Server("line_server") as server:
            nc = subprocess.run(
                ["nc", "-N", "127.0.0.1", str(server.port)],
                input="5\n", capture_output=True, text=True, timeout=PATIENCE, check=True,
            )
            self.assertEqual(nc.stdout, "15\n")

    def test_the_client(self):
        with Server("line_server") as server:
            client = run("line_client", "127.0.0.1", server.port)
            time_said, number = client.stdout.split()
            assert_is_now(time_said)
            self.assertEqual(number, "99")
            client = run("line_client", "localhost", server.port, "1", "2", "3")
            self.assertEqual((client.stdout, client.stderr, client.returncode), ("3\n6\n9\n", "", 0))

    def test_the_client_without_a_server(self):
        with Server("line_server") as server:
            port = server.port
            server.stop(signal.SIGINT)
        client = run("line_client", "127.0.0.1", port)
        self.assertEqual(client.stderr, f"connect to 127.0.0.1:{port}: connection refused\n")
        self.assertEqual(client.returncode, 1)

    def test_the_client_without_an_answer(self):
        with scripted_server(lambda _connection: None) as port:
            client = run("line_client", "127.0.0.1", port)
            self.assertEqual((client.stderr, client.returncode), ("the server gives no answer\n", 1))

    def test_a_signal_ends_it(self):
        with Server("line_server") as server:
            server.until_all_sleep(1)
            output, _ = server.stop(signal.SIGINT)
            self.assertEqual(output, "stopped\n")

    def test_a_signal_ends_it_while_a_client_is_silent(self):
        with Server("line_server") as server, server.client() as client:
            client.send(b"half a line")
            eventually(lambda: received_by_server(server.port))
            server.until_all_sleep(1)
            output, took = server.stop(signal.SIGINT)
            self.assertEqual(output, "stopped\n")
            self.assertLess(took, 5)
            self.assertEqual(client.line(), "")


class UnixServer(InTemporaryDirectory):
    @contextlib.contextmanager
    def server(self, path):
        process = subprocess.Popen(
            [EXAMPLES / "unix_server", path],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        try:
            self.assertEqual(process.stdout.readline(), f"listening on {path}\n")
            yield process
        finally:
            process.kill()
            process.communicate()

    def ask(self, path, question):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            client.sendall(question + b"\n")
            return client.makefile("rb").read().decode()

    def test_answers_and_knows_who_asks(self):
        path = self.directory / "socket"
        with self.server(path) as server:
            self.assertEqual(self.ask(path, b"14"), "42\n")
            self.assertEqual(server.stdout.readline(), f'request: "14" from: {os.getpid()}\n')
            assert_is_now(self.ask(path, b"time").strip())
            nc = subprocess.run(
                ["nc", "-N", "-U", path],
                input="5\n", capture_output=True, text=True, timeout=PATIENCE, check=True,
            )
            self.assertEqual(nc.stdout, "15\n")

    def test_the_client(self):
        path = self.directory / "socket"
        with self.server(path):
            time_said, number = run("unix_client", path).stdout.split()
            assert_is_now(time_said)
            self.assertEqual(number, "99")
            self.assertEqual(run("unix_client", path, "1", "2").stdout, "3\n6\n")

    def test_the_client_without_a_server(self):
        client = run("unix_client", self.directory / "none")
        self.assertEqual(client.stderr, f"connect to {self.directory / 'none'}: no such file or directory\n")
        self.assertEqual(client.returncode, 1)

    def test_a_signal_ends_it_and_it_removes_its_file(self):
        path = self.directory / "socket"
        with self.server(path) as server:
            server.send_signal(signal.SIGINT)
            output, errors = server.communicate(timeout=PATIENCE)
            self.assertEqual((output, errors, server.returncode), ("stopped\n", "", 0))
        self.assertFalse(path.exists())

    def test_what_a_killed_server_has_left_is_in_nobodys_way(self):
        path = self.directory / "socket"
        with self.server(path):
            pass
        self.assertTrue(path.is_socket())
        with self.server(path):
            self.assertEqual(self.ask(path, b"1"), "3\n")

    def test_other_files_are_left_alone(self):
        path = self.directory / "precious"
        path.write_text("precious")
        server = run("unix_server", path)
        self.assertEqual(server.stderr, f"listen on {path}: address already in use\n")
        self.assertEqual(server.returncode, 1)
        self.assertEqual(path.read_text(), "precious")


@contextlib.contextmanager
def scripted_server(script):
    """A server that does with its one client what the script says, once it has begun to speak; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                connection.recv(65536)
                with contextlib.suppress(ConnectionError):
                    script(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def read_to_the_end(connection):
    while connection.recv(65536):
        pass


class Download(InTemporaryDirectory):
    def setUp(self):
        super().setUp()
        self.file = self.directory / "file"
        self.part = self.directory / "file.part"

    def download(self, port, *options, name="file"):
        return run("download", f"http://127.0.0.1:{port}/{name}", self.file, *options)

    def assert_downloaded(self, result, content):
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(result.stdout, f"{self.file} is there\n")
        self.assertEqual(self.file.read_bytes(), content)
        self.assertFalse(self.part.exists())

    def assert_failed(self, result, text, part=None):
        self.assertEqual((result.returncode, result.stderr), (1, text))
        self.assertFalse(self.file.exists())
        self.assertEqual(self.part.read_bytes() if self.part.exists() else None, part)

    def test_from_pythons_server(self):
        content = os.urandom(3_000_000)
        served = self.directory / "served"
        (served / "directory").mkdir(parents=True)
        (served / "content").write_bytes(content)

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        handler = functools.partial(Quiet, directory=served)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever).start()
            try:
                port = server.server_port
                self.assert_downloaded(self.download(port, name="content"), content)
                self.file.unlink()
                self.assert_failed(
                    self.download(port, name="missing"),
                    "HTTP/1.0 404 File not found, while waiting for 127.0.0.1\n",
                )
                self.assert_failed(
                    self.download(port, name="directory"),
                    "HTTP/1.0 301 Moved Permanently: it is at /directory/, while waiting for 127.0.0.1\n",
                )
            finally:
                server.shutdown()

    def test_the_name_is_that_in_the_url(self):
        with scripted_server(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n12")) as port:
            subprocess.run(
                [EXAMPLES / "download", f"http://localhost:{port}/some/name?query#fragment"],
                cwd=self.directory, capture_output=True, timeout=PATIENCE, check=True,
            )
        self.assertEqual((self.directory / "name").read_bytes(), b"12")

    def test_chunked(self):
        def script(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in [b"5\r\nhello\r", b"\n00001;name=value\r\n,\r\n6\r\n wo", b"rld\r\n0\r\nTrailer: it\r\n\r\n"]:
                connection.sendall(piece)

        with scripted_server(script) as port:
            self.assert_downloaded(self.download(port), b"hello, world")

    def test_until_the_end(self):
        with scripted_server(lambda connection: connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")) as port:
            self.assert_downloaded(self.download(port), b"hello")

    def test_what_ends_too_early(self):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
        with scripted_server(lambda connection: connection.sendall(answer)) as port:
            text = f"stream ended too early, while receiving {self.part}: 5 of 10 bytes\n"
            self.assert_failed(self.download(port), text, part=b"hello")

    def test_what_is_not_http(self):
        for answer, text in [
            (b"220 smtp.example\r\n\r\n", "the server doesn't speak HTTP/1"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad Content-Length"),
            (b"x" * 20000, "line is longer than 16384 bytes"),
            (b"HTTP/1.1 200 OK\r\n" + 101 * b"a: b\r\n" + b"\r\n", "too many header fields"),
            (b"", "stream ended too early"),
        ]:
            with scripted_server(lambda connection: connection.sendall(answer)) as port:
                self.assert_failed(self.download(port), f"{text}, while waiting for 127.0.0.1\n")

    def test_other_urls_are_refused(self):
        for url in ["https://localhost/", "localhost/", "http:///file", "http://local host/"]:
            result = run("download", url)
            self.assertEqual(result.returncode, 2)
            self.assertIn(f"invalid value '{url}' for '<URL>'", result.stderr)

    def test_a_slow_server_has_all_the_time_it_wants(self):
        def script(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
            for _ in range(30):
                connection.sendall(b"x")
                time.sleep(0.1)

        with scripted_server(script) as port:
            self.assert_downloaded(self.download(port, "--timeout", "2"), 30 * b"x")

    def test_a_silent_server_has_not(self):
        def script(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
            read_to_the_end(connection)

        with scripted_server(script) as port:
            begin = time.monotonic()
            result = self.download(port, "--timeout", "0.3")
            self.assertGreaterEqual(time.monotonic() - begin, 0.3)
            self.assert_failed(result, f"timed out, while receiving {self.part}: 0 of 30 bytes\n", part=b"")

    def assert_stopped(self, process, text):
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, output, errors), (130, "", f"stopped while {text}\n"))
        self.assertFalse(self.file.exists())

    @contextlib.contextmanager
    def downloading(self, url, *before):
        process = subprocess.Popen(
            [*before, EXAMPLES / "download", url, self.file],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def test_ctrl_c_while_it_receives(self):
        def script(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + 1000 * b"x")
            read_to_the_end(connection)

        with scripted_server(script) as port, self.downloading(f"http://127.0.0.1:{port}/") as process:
            eventually(lambda: self.part.exists() and self.part.stat().st_size == 1000)
            self.assert_stopped(process, f"receiving {self.part}: 1000 of 3000 bytes")
            self.assertEqual(self.part.read_bytes(), 1000 * b"x")

    def test_ctrl_c_while_it_waits_for_the_answer(self):
        asked = threading.Event()

        def script(connection):
            asked.set()
            read_to_the_end(connection)

        with scripted_server(script) as port, self.downloading(f"http://127.0.0.1:{port}/") as process:
            self.assertTrue(asked.wait(PATIENCE))
            self.assert_stopped(process, "waiting for 127.0.0.1")

    def test_ctrl_c_while_it_connects(self):
        with black_hole() as (port, hanging):
            with self.downloading(f"http://127.0.0.1:{port}/") as process:
                eventually(lambda: begun_connections(port) == hanging + 1)
                self.assert_stopped(process, "connecting to 127.0.0.1")

    def test_ctrl_c_while_it_looks_up_the_name(self):
        if subprocess.run([*APART, "true"], capture_output=True).returncode != 0:
            self.skipTest("no namespaces for ordinary users")
        before = [*APART, sys.executable, __file__, "with-silent-dns"]
        with self.downloading("http://slow.test/", *before) as process:
            eventually(lambda: was_asked_for_a_name(process.pid))
            self.assert_stopped(process, "looking up slow.test")

    def test_the_bar_moves(self):
        shown = threading.Event()

        def script(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + 1500 * b"x")
            shown.wait(PATIENCE)
            connection.sendall(1500 * b"x")

        with scripted_server(script) as port, Terminal("download", f"http://127.0.0.1:{port}/", self.file) as terminal:
            terminal.until_shown(r"█+░+ 50% 1\.46 KiB/2\.93 KiB [\d.]+ K?i?B/s \d+\w+ left")
            shown.set()
            terminal.until_shown(" is there")
            self.assertEqual(terminal.exit_code(), 0)
        self.assertEqual(self.file.read_bytes(), 3000 * b"x")

    def test_the_bar_moves_while_nothing_comes(self):
        def script(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            read_to_the_end(connection)

        with scripted_server(script) as port, Terminal("download", f"http://127.0.0.1:{port}/", self.file) as terminal:
            terminal.until_shown("2 B .* 1s")
            terminal.type(b"\x03")
            terminal.until_shown("stopped while receiving ")
            self.assertEqual(terminal.exit_code(), 130)


class Terminal:
    """An example that runs in a terminal of its own."""

    def __init__(self, example, *arguments):
        command = list(map(str, [EXAMPLES / example, *arguments]))
        self.ended, told = os.pipe()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            # When the leader of a session ends, its terminal forgets what was not read yet: so the example isn't the leader,
            # and this process outlives it. A handler, unlike what is ignored, is not passed on.
            signal.signal(signal.SIGINT, lambda *_: None)
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            process = subprocess.Popen(command, env={**os.environ, "TERM": "xterm"})
            os.write(told, str(process.wait()).encode())
            while True:
                signal.pause()
        os.close(told)
        self.output = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Its terminal goes with it, which ends the example if that still runs.
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)
        os.close(self.ended)

    def until_shown(self, pattern):
        while not re.search(pattern, self.output.decode(errors="ignore")):
            if not select.select([self.master], [], [], PATIENCE)[0]:
                raise AssertionError(f"{pattern} was not shown but {self.output.decode(errors='ignore')}")
            self.output += os.read(self.master, 65536)

    def type(self, keys):
        os.write(self.master, keys)

    def exit_code(self):
        ready = select.select([self.ended], [], [], PATIENCE)[0]
        return int(os.read(self.ended, 20)) if ready else None


def begun_connections(port):
    """How many clients of the port have not got an answer yet."""
    with open("/proc/net/tcp") as rows:
        fields = [row.split() for row in rows]
    return sum(row[2] == f"0100007F:{port:04X}" and row[3] == "02" for row in fields)


@contextlib.contextmanager
def black_hole():
    """A listener that answers nobody, since its queue is full; gives its port and how many hang there already."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        while begun_connections(port) < 2:
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port, begun_connections(port)


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


if __name__ == "__main__":
    if sys.argv[1:2] == ["with-silent-dns"]:
        with_silent_dns(sys.argv[2:])
    unittest.main(verbosity=2)
