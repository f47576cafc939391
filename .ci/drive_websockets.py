#!/usr/bin/env python3
"""Other WebSockets talk with the example `web_socket`: Python's `websockets`, blocking and asyncio, and node's `ws`.

    drive_websockets.py PROGRAM [FOLDER]

PROGRAM is the example, built with the feature `websocket-deflate`. `websockets` is installed by pip. `ws` is looked for in FOLDER,
where `npm install ws` has put it; without FOLDER it is left out.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import unittest

import websockets.asyncio.client
import websockets.sync.client
import websockets.sync.server

PROGRAM = ""
FOLDER = None
MESSAGES = ["", "hello", "größer", "x" * 125, "x" * 126, "again and again " * 10_000, b"", bytes(range(256)) * 300]


@contextlib.contextmanager
def server():
    with subprocess.Popen([PROGRAM, "server", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True) as process:
        yield process, process.stdout.readline().removeprefix("listening on ").strip()
        process.terminate()
        assert process.wait(20) == 0


def client(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)


class Websockets(unittest.TestCase):
    def test_a_blocking_client(self):
        for compression in [None, "deflate"]:
            with server() as (_, addr), websockets.sync.client.connect(f"ws://{addr}/", compression=compression) as peer:
                for message in MESSAGES:
                    peer.send(message)
                    self.assertEqual(peer.recv(20), message)
                peer.send(["in ", "many ", "pieces"])
                self.assertEqual(peer.recv(20), "in many pieces")
                self.assertTrue(peer.ping().wait(20))
                peer.close(4000, "bye")
                self.assertEqual((peer.close_code, peer.close_reason), (4000, ""))

    def test_many_asyncio_clients(self):
        async def talk(addr):
            async with websockets.asyncio.client.connect(f"ws://{addr}/") as peer:
                for message in MESSAGES * 3:
                    await peer.send(message)
                    self.assertEqual(await peer.recv(), message)

        async def all_of_them(addr):
            await asyncio.gather(*[talk(addr) for _ in range(50)])

        with server() as (_, addr):
            asyncio.run(all_of_them(addr))

    def test_a_server_that_stops_says_so(self):
        with server() as (process, addr), websockets.sync.client.connect(f"ws://{addr}/") as peer:
            peer.send("hello")
            self.assertEqual(peer.recv(20), "hello")
            process.send_signal(signal.SIGINT)
            with self.assertRaises(websockets.exceptions.ConnectionClosed) as closed:
                peer.recv(20)
            self.assertEqual(closed.exception.rcvd.code, 1001)

    def test_a_server(self):
        def echo(peer):
            for message in peer:
                peer.send(message)

        with websockets.sync.server.serve(echo, "127.0.0.1", 0, compression="deflate") as peer:
            serving = threading.Thread(target=peer.serve_forever)
            serving.start()
            url = f"ws://127.0.0.1:{peer.socket.getsockname()[1]}/"
            for options in [[], ["--deflate"]]:
                texts = [text[:100_000] for text in MESSAGES if isinstance(text, str)]
                ended = client("client", *options, url, *texts)
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))
                self.assertEqual(ended.stdout, "".join(f"{text}\n" for text in texts))
            peer.shutdown()
            serving.join()


class Ws(unittest.TestCase):
    """Node's."""

    def setUp(self):
        if FOLDER is None:
            self.skipTest("no folder with ws")

    def node(self, code, **options):
        return subprocess.Popen(["node", "-e", code], cwd=FOLDER, stdout=subprocess.PIPE, text=True, **options)

    def test_a_client(self):
        code = """
            const { WebSocket } = require('ws');
            const texts = ['', 'hello', 'größer', 'again and again '.repeat(10000)];
            const peer = new WebSocket(process.env.URL, { perMessageDeflate: process.env.DEFLATE === '1' });
            let next = 0;
            peer.on('open', () => peer.send(texts[0]));
            peer.on('message', (data, isBinary) => {
                if (isBinary || data.toString() !== texts[next]) process.exit(1);
                if (++next < texts.length) peer.send(texts[next]); else peer.ping('there?');
            });
            peer.on('pong', data => { if (data.toString() !== 'there?') process.exit(2); peer.close(4000, 'bye'); });
            peer.on('close', code => { console.log(code, peer.extensions); process.exit(0); });
        """
        for deflate in ["0", "1"]:
            with server() as (_, addr):
                environment = dict(os.environ, URL=f"ws://{addr}/", DEFLATE=deflate)
                with self.node(code, env=environment) as peer:
                    self.assertEqual(peer.wait(60), 0)
                    self.assertEqual(peer.stdout.read().split(), ["4000"] + ["permessage-deflate"] * int(deflate))

    def test_a_server(self):
        code = """
            const { WebSocketServer } = require('ws');
            const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: true });
            server.on('listening', () => console.log(server.address().port));
            server.on('connection', peer => peer.on('message', (data, isBinary) => peer.send(data, { binary: isBinary })));
        """
        with self.node(code) as peer:
            url = f"ws://127.0.0.1:{peer.stdout.readline().strip()}/"
            for options in [[], ["--deflate"]]:
                ended = client("client", *options, url, "hello", "größer", "again and again " * 5000)
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))
                self.assertEqual(ended.stdout, "hello\ngrößer\n" + "again and again " * 5000 + "\n")
            peer.terminate()


if __name__ == "__main__":
    PROGRAM, *rest = sys.argv[1:]
    FOLDER = rest[0] if rest else None
    unittest.main(argv=sys.argv[:1], verbosity=2)
