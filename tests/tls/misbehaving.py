"""A client of tlslite-ng that says hello, and then what nobody should: as it is told, in one connection after the other.

Prints, for each, what it gets for that.
"""

import socket
import sys

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import AlertDescription, AlertLevel, ContentType
from tlslite.errors import TLSAbruptCloseError, TLSRemoteAlert
from tlslite.messages import Alert, ApplicationData, Message


class OneByOne:
    """A socket that sends byte by byte."""

    def __init__(self, plain):
        self.plain = plain

    def send(self, data):
        for byte in bytes(data):
            self.plain.send(bytes([byte]))
        return len(data)

    def __getattr__(self, name):
        return getattr(self.plain, name)


def misbehave(plain, version, how):
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = version
    client = TLSConnection(OneByOne(plain) if how == "slow_hello" else plain)
    client.handshakeClientCert(settings=settings, serverName="server.test")

    def record(message):
        for _ in client._recordLayer.sendRecord(message):
            pass

    def data(content):
        record(ApplicationData().create(bytearray(content)))

    def alert(description, level):
        record(Alert().create(description, level))

    if how == "split_records":
        client.recordSize = 1
    if how == "empty_records":
        for _ in range(20):
            data(b"")
    if how == "padding":
        client._recordLayer.padding_cb = lambda *_: 1000
    client.sendall(b"hello\n")
    match how:
        case "slow_hello" | "split_records" | "empty_records" | "padding":
            alert(AlertDescription.close_notify, AlertLevel.warning)
        case "no_close_notify":
            plain.shutdown(socket.SHUT_WR)
        case "fatal_alert":
            alert(AlertDescription.internal_error, AlertLevel.fatal)
        case "many_warnings":
            for _ in range(100):
                alert(AlertDescription.user_canceled, AlertLevel.warning)
        case "many_empty":
            for _ in range(100):
                data(b"")
        case "heartbeat":
            record(Message(ContentType.heartbeat, bytearray(b"\1\xff\xffheart" + bytes(16))))
        case "too_long":
            data(bytes(2**14 + 1))
        case "unknown_type":
            record(Message(99, bytearray(b"what?")))
        case "bad_mac":
            plain.sendall(b"\x17\x03\x03\x00\x30" + bytes(48))
    try:
        return client.read(max=6, min=6).decode().strip()
    except TLSRemoteAlert as alert:
        return AlertDescription.toStr(alert.description)
    except TLSAbruptCloseError:
        return "no alert"


port, version, *hows = sys.argv[1:]
for how in hows:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(misbehave(plain, (3, 4) if version == "1.3" else (3, 3), how), flush=True)
