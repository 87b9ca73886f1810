"""One conversation with /ws, by three independent implementations of WebSocket. Prints what came of it as JSON.

interop_python.py websockets|wsproto|autobahn HOST PORT KEY
"""
import asyncio
import hashlib
import json
import socket
import sys

HELLO = {"type": "hello", "client": "interop"}
CHAT = {
    "type": "chat.create",
    "id": sys.argv[1],
    "request": {"model": "far", "messages": [{"role": "user", "content": "for " + sys.argv[1]}]},
}


def ping(n, size=0):
    return json.dumps({"type": "ping", "n": n}).ljust(size)


class Seen:
    """What the server said so far."""

    def __init__(self):
        self.types = []
        self.pongs = []
        self.text = ""
        self.sha256 = None

    def add(self, text):
        message = json.loads(text)
        self.types.append(message["type"])
        if message["type"] == "pong":
            self.pongs.append(message["n"])
        if message["type"] in ("stream.delta", "stream.event"):
            self.text += message.get("text", "")
        if message["type"] == "stream.end":
            self.sha256 = message["sha256"]

    def report(self, **more):
        whole = hashlib.sha256(self.text.encode()).hexdigest() == self.sha256
        print(json.dumps({"welcome": "welcome" in self.types, "pongs": self.pongs, "whole": whole, **more}))


async def with_websockets(host, port, key):
    import websockets

    seen = Seen()
    headers = {"Authorization": "Bearer " + key}
    async with websockets.connect(
        f"ws://{host}:{port}/ws", extra_headers=headers, subprotocols=["helixflow.v1"]
    ) as ws:
        protocol = ws.subprotocol
        await ws.send(json.dumps(HELLO))
        await ws.send(ping(1))
        await ws.send(ping(2).encode())
        text = ping(3)
        await ws.send([text[:5], text[5:9], text[9:]])
        await ws.send(ping(4, 100 * 1024))
        pong = await ws.ping(b"abc")
        await ws.send(json.dumps(CHAT))
        while seen.sha256 is None:
            seen.add(await ws.recv())
        await asyncio.wait_for(pong, 5)
    seen.report(protocol=protocol, ping="abc", close=ws.close_code)


def with_wsproto(host, port, key):
    from wsproto import ConnectionType, WSConnection
    from wsproto import events

    seen = Seen()
    sock = socket.create_connection((host, port), 10)
    ws = WSConnection(ConnectionType.CLIENT)
    out = lambda event: sock.sendall(ws.send(event))
    out(
        events.Request(
            host=f"{host}:{port}",
            target="/ws",
            subprotocols=["helixflow.v1"],
            extra_headers=[(b"authorization", b"Bearer " + key.encode())],
        )
    )
    facts = {}

    def said(event):
        if isinstance(event, events.AcceptConnection):
            facts["protocol"] = event.subprotocol
            out(events.TextMessage(data=json.dumps(HELLO)))
            out(events.TextMessage(data=ping(1)))
            out(events.BytesMessage(data=ping(2).encode()))
            text = ping(3)
            out(events.TextMessage(data=text[:5], message_finished=False))
            out(events.Ping(payload=b"abc"))
            out(events.TextMessage(data=text[5:9], message_finished=False))
            out(events.TextMessage(data=text[9:]))
            out(events.TextMessage(data=ping(4, 100 * 1024)))
            out(events.TextMessage(data=json.dumps(CHAT)))
        elif isinstance(event, events.Pong):
            facts["ping"] = bytes(event.payload).decode()
        elif isinstance(event, events.Ping):
            out(event.response())
        elif isinstance(event, events.CloseConnection):
            facts["close"] = event.code

    buffered = ""
    while "close" not in facts:
        data = sock.recv(65536)
        ws.receive_data(data or None)
        for event in ws.events():
            said(event)
            if isinstance(event, events.TextMessage):
                buffered += event.data
                if event.message_finished:
                    seen.add(buffered)
                    buffered = ""
                    if seen.sha256 is not None:
                        out(events.CloseConnection(code=1000))
    seen.report(**facts)


async def with_autobahn(host, port, key):
    from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol

    seen = Seen()
    facts = {}
    over = asyncio.get_running_loop().create_future()

    class Protocol(WebSocketClientProtocol):
        def onConnect(self, response):
            facts["protocol"] = response.protocol

        def onOpen(self):
            self.sendMessage(json.dumps(HELLO).encode())
            self.sendMessage(ping(1).encode())
            self.sendMessage(ping(2).encode(), isBinary=True)
            self.sendMessage(ping(3).encode(), fragmentSize=5)
            self.sendMessage(ping(4, 100 * 1024).encode())
            self.sendPing(b"abc")
            self.sendMessage(json.dumps(CHAT).encode())

        def onPong(self, payload):
            facts["ping"] = payload.decode()

        def onMessage(self, payload, isBinary):
            seen.add(payload.decode())
            if seen.sha256 is not None:
                self.sendClose(1000)

        def onClose(self, wasClean, code, reason):
            facts["close"] = code if wasClean else reason
            over.set_result(None)

    factory = WebSocketClientFactory(
        f"ws://{host}:{port}/ws", protocols=["helixflow.v1"], headers={"Authorization": "Bearer " + key}
    )
    factory.protocol = Protocol
    await asyncio.get_running_loop().create_connection(factory, host, port)
    await asyncio.wait_for(over, 20)
    seen.report(**facts)


name, host, port, key = sys.argv[1:]
if name == "wsproto":
    with_wsproto(host, int(port), key)
else:
    asyncio.run((with_websockets if name == "websockets" else with_autobahn)(host, int(port), key))
