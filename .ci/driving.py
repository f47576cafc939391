"""What the drivers of the examples share: servers that run, and clients for them."""

import contextlib
import re
import socket
import subprocess
import time

PATIENCE = 20


class Example:
    """An example that is running."""

    def __init__(self, example, *arguments):
        self.process = subprocess.Popen(
            [f"target/debug/examples/{example}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def task_states(self):
        """What each of its threads is doing, by the kernel's letter."""
        pid = self.process.pid
        listed = subprocess.run(["ls", f"/proc/{pid}/task"], capture_output=True, text=True, check=True)
        states = []
        for task in listed.stdout.split():
            with open(f"/proc/{pid}/task/{task}/stat") as stat:
                states.append(stat.read().rpartition(")")[2].split()[0])
        return states

    def until_all_sleep(self, threads):
        eventually(lambda: self.task_states() == ["S"] * threads, lambda: self.task_states())

    def stop(self, *signals):
        """Sends the signals; gives the rest of the output and how long the end took, in seconds."""
        begin = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
        return self.ended(begin)

    def ended(self, begin):
        output, errors, took = self.ended_with(0, begin)
        return output, took

    def ended_with(self, code, begin):
        output, errors = self.process.communicate(timeout=PATIENCE)
        took = time.monotonic() - begin
        assert self.process.returncode == code, (self.process.returncode, output, errors)
        return output, errors, took

    def until_said(self, line):
        said = self.process.stdout.readline()
        assert said == line + "\n", said


class Server(Example):
    """An example that listens, on a free port unless told otherwise."""

    def __init__(self, example, *options, addr="127.0.0.1:0", command=()):
        super().__init__(example, *command, addr, *options)
        first = self.process.stdout.readline()
        found = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", first)
        self.port = int(found[1]) if found else None

    def client(self):
        return Client(self.port)

    @contextlib.contextmanager
    def client_in_a_request(self):
        """A client that has sent half a line, which the server has begun to read."""
        with self.client() as client:
            assert client.ask(b"1") == "3\n"
            client.send(b"12")
            eventually(lambda: received_by_server(self.port))
            yield client


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.lines = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        return self.lines.readline().decode()

    def ask(self, question):
        self.send(question + b"\n")
        return self.line()


def eventually(look, seen=lambda: ""):
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end, seen()


def received_by_server(port):
    """Whether the server has taken all that its clients sent, by the queues that the kernel shows."""
    address = f"0100007F:{port:04X}"
    with open("/proc/net/tcp") as table:
        rows = [row.split() for row in table]
    queues = [row[4] for row in rows if row[1] == address and row[3] == "01"]
    return set(queues) == {"00000000:00000000"}
