"""Drives the examples that serve many clients on one thread."""

import collections
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
import unittest

from drive_examples import GracefulServer, LineServer
from driving import PATIENCE, Client, Server, eventually

HARD_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class QueueServer(Server):
    """`event_queue`, whose second line tells how many descriptors it has got."""

    def __init__(self, *options):
        super().__init__("event_queue", *options)
        second = self.process.stdout.readline()
        found = re.fullmatch(r"(\d+) descriptors at most, one for each client\n", second)
        assert found, second
        self.descriptors = int(found[1])

    def turns(self):
        """How often each thread has gone to sleep."""
        threads = thread_status(self.process.pid)
        return collections.Counter({thread["Name"]: int(thread["voluntary_ctxt_switches"]) for thread in threads})


def thread_status(pid):
    listed = subprocess.run(["ls", f"/proc/{pid}/task"], capture_output=True, text=True, check=True)
    for task in listed.stdout.split():
        with open(f"/proc/{pid}/task/{task}/status") as status:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def resident_kib(pid):
    return int(next(thread_status(pid))["VmRSS"].split()[0])


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def clients(server, count):
    """So many clients, each of which has had an answer."""
    with contextlib.ExitStack() as stack:
        connected = [stack.enter_context(server.client()) for _ in range(count)]
        for client in connected:
            client.send(b"1\n")
        for client in connected:
            assert client.line() == "3\n"
        yield connected


class SlowReader(Client):
    """Sends many requests, and reads nothing for a while."""

    # More of them, and of their answers, than the system keeps for a connection.
    LINES = 300_000
    FIRST = 10**37

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.lines = self.socket.makefile("rb")
        self.sent = 0
        self.sender = threading.Thread(target=self.send_all)
        self.sender.start()

    def send_all(self):
        for first in range(0, self.LINES, 100):
            numbers = range(self.FIRST + first, self.FIRST + first + 100)
            self.send(b"".join(b"%0120d\n" % number for number in numbers))
            self.sent = first + 100

    def answers(self):
        """Reads until the end of the stream, or until all is answered; gives the number of answers, all of them right."""
        for number in range(self.LINES):
            expected = b"%d\n" % (3 * (self.FIRST + number))
            seen = self.lines.readline()
            if not seen:
                return number
            assert seen == expected, (number, seen)
        return self.LINES

    def until_stuck(self):
        """Returns when nothing that it sends is taken any more."""
        end = time.monotonic() + PATIENCE
        while True:
            before = self.sent
            time.sleep(1)
            if 0 < self.sent == before:
                return
            assert time.monotonic() < end, f"{self.sent} requests were taken, and more are"


class ManyClients(LineServer):
    """What a server for many clients on one thread promises."""

    def assert_rests(self, server):
        before = cpu_seconds(server.process.pid)
        time.sleep(0.5)
        self.assertLess(cpu_seconds(server.process.pid) - before, 0.1)

    def test_pipelined_lines(self):
        with self.server() as server, server.client() as client:
            numbers = range(20_000)
            sender = threading.Thread(target=client.send, args=[b"".join(b"%d\n" % number for number in numbers)])
            sender.start()
            for number in numbers:
                self.assertEqual(client.line(), f"{3 * number}\n")
            sender.join()

    def test_a_line_in_pieces(self):
        with self.server() as server, server.client() as client, server.client() as other:
            for number, piece in enumerate([b"1", b"2", b"3"]):
                client.send(piece)
                self.assertEqual(other.ask(b"%d" % number), f"{3 * number}\n")
            self.assertEqual(client.ask(b""), "369\n")

    def test_answers_are_not_lost_when_a_line_is_too_long(self):
        with self.server() as server, server.client() as client:
            client.send(b"5\n" + b"x" * 500_000)
            self.assertEqual(client.line(), "15\n")
            self.assertRegex(client.line(), "^error: .*65536")
            self.assertEqual(client.line(), "")

    def test_the_answer_before_half_a_line_is_sent(self):
        with self.server() as server, server.client() as client:
            client.send(b"5\n12")
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(client.line(), "15\n")
            self.assertEqual(client.line(), "")

    def test_a_slow_reader_holds_up_nobody_and_takes_little_memory(self):
        with self.server() as server, server.client() as other:
            self.assertEqual(other.ask(b"1"), "3\n")
            before = resident_kib(server.process.pid)
            with SlowReader(server.port) as client:
                client.until_stuck()
                self.assertLess(client.sent, client.LINES)
                self.assertEqual(other.ask(b"2"), "6\n")
                self.assertLess(resident_kib(server.process.pid) - before, 1024)
                self.assert_rests(server)
                self.assertEqual(client.answers(), client.LINES)
                client.sender.join()

    def test_clients_that_vanish(self):
        with self.server() as server, server.client() as other:
            for number in range(50):
                with server.client() as client:
                    client.send(b"1\n" * 1000)
                    # With a linger of zero, closing is a reset.
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
                self.assertEqual(other.ask(b"%d" % number), f"{3 * number}\n")

    def test_descriptors_run_out(self):
        with self.server() as server, server.client() as client:
            self.assertEqual(client.ask(b"1"), "3\n")
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (32, 32))
            with contextlib.ExitStack() as stack:
                others = [stack.enter_context(server.client()) for _ in range(40)]
                for other in others:
                    other.send(b"2\n")
                self.assertEqual(others[0].line(), "6\n")
                self.assert_rests(server)
                self.assertEqual(client.ask(b"3"), "9\n")
                # As the first ones end, the last ones are served.
                for other in others:
                    self.assertEqual(other.line() if other is not others[0] else "6\n", "6\n")
                    other.socket.shutdown(socket.SHUT_RDWR)
            self.assertEqual(client.ask(b"4"), "12\n")
            self.assert_rests(server)


class EventQueue(GracefulServer, ManyClients, unittest.TestCase):
    threads = 3

    def server(self, *options):
        return QueueServer(*options)

    def test_raises_its_limit(self):
        # What the server inherits.
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, HARD_LIMIT))
        try:
            server = self.server()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (HARD_LIMIT, HARD_LIMIT))
        with server, clients(server, min(200, HARD_LIMIT - 100)):
            self.assertEqual(server.descriptors, HARD_LIMIT)

    def test_the_worker_takes_its_share(self):
        for share, worker_serves in [("0", [False] * 4), ("1", [True] * 4), ("2", [False, True] * 2)]:
            with self.server("--worker-share", share) as server, contextlib.ExitStack() as stack:
                for number, expected in enumerate(worker_serves):
                    client = stack.enter_context(server.client())
                    self.assertEqual(client.ask(b"1"), "3\n")
                    before = server.turns()
                    for _ in range(20):
                        self.assertEqual(client.ask(b"2"), "6\n")
                    turns = server.turns() - before
                    served = turns["worker"] > turns["front"]
                    self.assertEqual(served, expected, f"client {number} with a share of {share}: {turns}")

    def test_what_was_read_is_handed_over_too(self):
        for _ in range(20):
            with self.server("--worker-share", "1") as server, server.client() as client:
                # Too many for one turn, so that some of them are in the server's hands when the worker takes over.
                lines = 8000
                client.send(b"12345\n" * lines + b"12")
                self.assertEqual([client.line() for _ in range(lines)], ["37035\n"] * lines)
                self.assertEqual(client.ask(b"3"), "369\n")

    def test_a_slow_reader_has_what_it_has_asked_when_the_server_stops(self):
        with self.server("--grace", "60") as server, SlowReader(server.port) as client:
            client.until_stuck()
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.until_said("stopping")
            answered = client.answers()
            self.assertGreater(answered, 0)
            self.assertLess(answered, client.LINES)
            # What it goes on to send is not served any more; but only when it ends does the server close, lest a reset
            # overtake the answers.
            client.sender.join()
            client.socket.shutdown(socket.SHUT_WR)
            output, _ = server.ended(begin)
            self.assert_stopped(output, 1, 0)

    def test_thousands_of_idle_connections_end_at_once(self):
        count = room_for(10_000)
        with self.server("--grace", "60") as server, clients(server, count) as connected:
            output, took = server.stop(signal.SIGTERM)
            self.assert_stopped(output, count, 0)
            self.assertLess(took, PATIENCE)
            for client in connected:
                self.assertEqual(client.line(), "")

    def test_ten_thousand_clients(self):
        count = room_for(10_000)
        with self.server() as server:
            client = subprocess.run(
                [
                    "target/debug/examples/event_queue_client", f"127.0.0.1:{server.port}",
                    "--connections", str(count), "--requests", "5", "--at-once", "500",
                ],
                capture_output=True, text=True, timeout=60, check=True,
            )
            self.assertRegex(client.stdout, rf"(?m)^{count} connections in \d+ ms$")
            self.assertRegex(client.stdout, rf"(?m)^{5 * count} answers, 0 errors, \d+ answers/s$")
            self.assertRegex(client.stdout, r"(?m)^latency: p50 .* p90 .* p99 .* p99\.9 .* max \d+\.\d+ ms$")
            print(client.stdout, end="")


class EventQueueOnWorker(GracefulServer, ManyClients, unittest.TestCase):
    """The same where all clients are handed over."""

    threads = 3

    def server(self, *options):
        return QueueServer("--worker-share", "1", *options)


class EventQueueClient(unittest.TestCase):
    def test_tells_of_wrong_answers(self):
        with Server("signal_handler") as echo:
            client = subprocess.run(
                [
                    "target/debug/examples/event_queue_client", f"127.0.0.1:{echo.port}",
                    "--connections", "1", "--requests", "3",
                ],
                capture_output=True, text=True, timeout=PATIENCE,
            )
            self.assertNotEqual(client.returncode, 0)
            # The first number is zero, three times which is the same.
            self.assertRegex(client.stdout, r"(?m)^1 answers, 2 errors, ")
            self.assertIn('connection 0: 1 was answered with "1"', client.stderr)


class WaitEvent(ManyClients, unittest.TestCase):
    def server(self, *options):
        return Server("wait_event", *options)

    def assert_stopped(self, output, finished, forced):
        self.assertEqual(output, "stopped\n")

    def test_more_clients_than_select_can_wait_for(self):
        with self.server() as server, clients(server, room_for(1500)) as connected:
            for number, client in enumerate(connected):
                self.assertEqual(client.ask(b"%d" % number), f"{3 * number}\n")
            output, took = server.stop(signal.SIGINT)
            self.assertEqual(output, "stopped\n")
            self.assertLess(took, PATIENCE)
            for client in connected:
                self.assertEqual(client.line(), "")


def room_for(count):
    """So many clients as there may be; says so if they are fewer."""
    room = HARD_LIMIT - 100
    if room < count:
        print(f"only {room} connections instead of {count}: the hard limit for descriptors is {HARD_LIMIT}")
    return min(count, room)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (HARD_LIMIT, HARD_LIMIT))
    unittest.main(verbosity=2)
