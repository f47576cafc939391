"""Drives the examples with real clients: Python's sockets, nc and curl."""

import datetime
import re
import signal
import socket
import subprocess
import time
import unittest

from driving import PATIENCE, Server, eventually


def is_refused(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def stopped(output):
    found = re.fullmatch(r"(?:stopping\n)?stopped in (\d+) ms: (\d+) finished, (\d+) forced\n", output)
    assert found, output
    return int(found[2]), int(found[3])


class LineServer:
    """What a server that answers `time` and integers promises."""

    def server(self, *options):
        raise NotImplementedError

    def assert_stopped(self, output, finished, forced):
        self.assertEqual(stopped(output), (finished, forced))

    def test_answers(self):
        with self.server() as server, server.client() as client:
            said = datetime.datetime.fromisoformat(client.ask(b"time").strip().replace("Z", "+00:00"))
            now = datetime.datetime.now(datetime.timezone.utc)
            self.assertLess(abs((now - said).total_seconds()), 10)
            self.assertEqual(client.ask(b"14"), "42\n")
            self.assertEqual(client.ask(b"-14\r"), "-42\n")
            self.assertEqual(client.ask(b"9223372036854775807"), "27670116110564327421\n")
            for wrong in [b"", b"3.5", b"Time", b"9" * 50, b"\xff\xfe", b"x" * 65536]:
                self.assertRegex(client.ask(wrong), "^error: ")
            client.send(b"1\n2\n3\n")
            self.assertEqual([client.line() for _ in range(3)], ["3\n", "6\n", "9\n"])
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(client.line(), "")

    def test_a_line_too_long_ends_its_connection_and_no_other(self):
        with self.server() as server, server.client() as other, server.client() as client:
            self.assertEqual(other.ask(b"1"), "3\n")
            client.send(b"x" * 65537)
            self.assertRegex(client.line(), "^error: .*65536")
            self.assertEqual(client.line(), "")
            self.assertEqual(other.ask(b"2"), "6\n")

    def test_nc_and_curl(self):
        with self.server() as server:
            nc = subprocess.run(
                ["nc", "-N", "127.0.0.1", str(server.port)],
                input="5\n", capture_output=True, text=True, timeout=PATIENCE, check=True,
            )
            self.assertEqual(nc.stdout, "15\n")
            curl = subprocess.Popen(
                ["curl", "--silent", "--no-buffer", f"telnet://127.0.0.1:{server.port}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            curl.stdin.write("7\n")
            curl.stdin.flush()
            self.assertEqual(curl.stdout.readline(), "21\n")
            # The idle client is ended with the server.
            output, _ = server.stop(signal.SIGTERM)
            self.assert_stopped(output, 1, 0)
            curl.communicate(timeout=PATIENCE)


class GracefulServer(LineServer):
    """What one promises that lets running requests end."""

    threads = None

    def test_a_signal_ends_it_at_once(self):
        for idle in [0, 3]:
            fastest = min(self.time_to_end(idle) for _ in range(5))
            self.assertLess(fastest, 0.05, f"{idle} idle connections")

    def time_to_end(self, idle):
        with self.server("--grace", "60") as server:
            clients = [server.client() for _ in range(idle)]
            for client in clients:
                self.assertEqual(client.ask(b"1"), "3\n")
            server.until_all_sleep(self.threads)
            output, took = server.stop(signal.SIGINT)
            self.assert_stopped(output, idle, 0)
            for client in clients:
                self.assertEqual(client.line(), "")
                client.__exit__()
            return took

    def test_a_running_request_ends_within_the_grace(self):
        with self.server("--grace", "60") as server, server.client_in_a_request() as client:
            begin = time.monotonic()
            server.process.send_signal(signal.SIGINT)
            server.until_said("stopping")
            eventually(lambda: is_refused(server.port))
            client.send(b"3\n")
            self.assertEqual(client.line(), "369\n")
            self.assertEqual(client.line(), "")
            output, _ = server.ended(begin)
            self.assert_stopped(output, 1, 0)

    def test_the_grace_ends(self):
        with self.server("--grace", "0.3") as server, server.client_in_a_request():
            output, took = server.stop(signal.SIGINT)
            self.assert_stopped(output, 0, 1)
            self.assertGreaterEqual(took, 0.3)

    def test_a_second_signal_ends_the_grace(self):
        with self.server("--grace", "60") as server, server.client_in_a_request() as client:
            begin = time.monotonic()
            server.process.send_signal(signal.SIGINT)
            server.until_said("stopping")
            server.process.send_signal(signal.SIGTERM)
            output, took = server.ended(begin)
            self.assert_stopped(output, 0, 1)
            self.assertLess(took, PATIENCE)
            self.assertEqual(client.line(), "")


class AcceptLoop(GracefulServer, unittest.TestCase):
    threads = 5

    def server(self, *options):
        return Server("accept_loop", "--threads", "4", *options)

    def test_more_clients_than_threads(self):
        with Server("accept_loop", "--threads", "2") as server:
            for number in range(200):
                with server.client() as client:
                    self.assertEqual(client.ask(str(number).encode()), f"{3 * number}\n")

    def test_a_port_in_use(self):
        with Server("accept_loop") as server:
            taken = f"127.0.0.1:{server.port}"
            with Server("accept_loop", addr=taken) as second:
                _, errors = second.process.communicate(timeout=PATIENCE)
                self.assertNotEqual(second.process.returncode, 0)
                self.assertEqual(errors, f"listen on {taken}: address already in use\n")


class SignalHandler(unittest.TestCase):
    def test_a_handler_ends_it_at_once(self):
        for number in [signal.SIGINT, signal.SIGTERM] * 5:
            with Server("signal_handler") as server:
                with server.client() as client:
                    self.assertEqual(client.ask(b"hello"), "hello\n")
                    server.until_all_sleep(5)
                    output, _ = server.stop(number)
                    self.assertEqual(output, "stopped\n")
                    self.assertEqual(client.line(), "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
