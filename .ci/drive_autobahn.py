#!/usr/bin/env python3
"""Runs Autobahn's cases, by kosoku, against the example `web_socket` as a server and as a client.

    drive_autobahn.py PROGRAM [CASE...]

PROGRAM is the example, built with the feature `websocket-deflate`. Without a CASE (a glob, as in `1.*`) it runs all. It prints how
many came to which end, and fails if one has failed. kosoku is installed by `pip install kosoku`.
"""

import collections
import concurrent.futures
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL", "NOT RUN"}

# What the suite itself stumbles over, in the first case of each group of 12 and 13, before it has sent anything: its own
# cases are written for Python 2.
OF_THE_SUITE = "Strings must be encoded before hashing"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def kosoku(*arguments):
    return [sys.executable, "-c", "import sys; from kosoku._cli import main; sys.exit(main())", *arguments]


def verdicts(folder):
    """What each case of a report has come to."""
    found = {}
    for index in pathlib.Path(folder).rglob("index.json"):
        for cases in json.loads(index.read_text()).values():
            for case, verdict in cases.items():
                report = json.loads((index.parent / verdict["reportfile"]).read_text())
                ends = (verdict["behavior"], verdict.get("behaviorClose", "OK"))
                found[case] = ("NOT RUN", "NOT RUN") if report.get("result") == OF_THE_SUITE else ends
    return found


def tell(role, found):
    counts = collections.Counter(behavior for behavior, _ in found.values())
    print(f"{role}: {len(found)} cases: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    bad = {case: ends for case, ends in found.items() if not set(ends) <= GOOD}
    for case, ends in bad.items():
        print(f"  {case}: {' / '.join(ends)}")
    return bool(found) and not bad


def as_server(program, cases, folder):
    server = subprocess.Popen([program, "server", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        addr = server.stdout.readline().removeprefix("listening on ").strip()
        includes = [argument for case in cases for argument in ("-i", case)]
        subprocess.run(kosoku("-m", "fuzzingclient", *includes, "-o", folder, addr), stdout=subprocess.DEVNULL, check=False)
    finally:
        server.terminate()
        server.wait()
    return tell("server", verdicts(folder))


def first_message(addr, path):
    """What the suite sends first, as far as it is a short message."""
    host, port = addr.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        stream = connection.makefile("rb")
        while stream.readline().strip():
            pass
        head = stream.read(2)
        return stream.read(head[1] & 0x7F) if len(head) == 2 else b""


def until_listening(addr):
    host, port = addr.split(":")
    for _ in range(200):
        try:
            return socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit("the suite doesn't listen")


def as_client(program, cases, folder):
    addr = f"127.0.0.1:{free_port()}"
    includes = [argument for case in cases for argument in ("-i", case)]
    suite = subprocess.Popen(kosoku("-m", "fuzzingserver", *includes, "-o", folder, addr), stdout=subprocess.DEVNULL)
    try:
        until_listening(addr)
        for case in range(1, int(first_message(addr, "/getCaseCount")) + 1):
            url = f"ws://{addr}/runCase?case={case}&agent=wakesock"
            # Where the suite breaks the protocol, the example fails, as it should.
            subprocess.run([program, "echo", "--deflate", url], stderr=subprocess.DEVNULL, timeout=120, check=False)
        first_message(addr, "/updateReports?agent=wakesock")
        for _ in range(600):
            if list(pathlib.Path(folder).rglob("index.json")):
                break
            time.sleep(0.1)
    finally:
        suite.terminate()
        suite.wait()
    return tell("client", verdicts(folder))


def main():
    program, *cases = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor() as pool:
        # Beside each other: neither takes a processor whole.
        roles = [pool.submit(role, program, cases, f"{folder}/{role.__name__}") for role in (as_server, as_client)]
        passed = [role.result() for role in roles]
    sys.exit(not all(passed))


main()
