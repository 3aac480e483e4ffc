"""What the Python client python-socketio does at a node: client.py URL [TRANSPORT].

Without a transport it begins with polling and upgrades. It prints a line for everything that it receives; the test
compares them. Each event has one argument more than was emitted, the offset of recovery, which this client does not
know: hence *offset.
"""
import json
import queue
import sys

import socketio

PATIENCE = 60  # seconds for anything that is waited for
url, transports = sys.argv[1], sys.argv[2:] or None


def say(word, *values):
    print(word, *(json.dumps(v, default=lambda b: {"$bin": b.hex()}, ensure_ascii=False) for v in values))


client = socketio.Client(reconnection=False)
received = queue.Queue()
for namespace in ("/", "/chat"):

    @client.on("post", namespace=namespace)
    def post(value, *offset, namespace=namespace):
        received.put((namespace, value, [type(o).__name__ for o in offset]))

    @client.on("question", namespace=namespace)
    def question(value, namespace=namespace):
        return {"asked": value, "in": namespace}

    @client.on("disconnect", namespace=namespace)
    def disconnect(namespace=namespace):
        received.put((namespace, "disconnected"))


client.connect(
    url,
    transports=transports,
    namespaces=["/", "/chat", "/guarded"],
    auth={"token": "letmein"},
    wait_timeout=PATIENCE,
)
say("connected", sorted(client.namespaces), len(set(client.namespaces.values())))
say("transport", client.transport())


def call(event, *args, namespace="/"):
    say(event, namespace, client.call(event, args, namespace=namespace, timeout=PATIENCE))


# The server's acknowledgements, and the client's.
call("echo", 1, "√ 😀", None, 3.5, True, [4], {"five": {}})
call("echo", "of the namespace", namespace="/guarded")
call("call-me", "what time is it")
call("call-me", "and there", namespace="/chat")
call("fail", "short and stout")

# Binary, in acknowledgements and events, both ways.
call("echo", b"\x00\x01\xff", {"deep": [b"", b"hi"]})
call("bytes")
call("call-me", {"with": b"\x00"})

# Events.
for namespace in ("/", "/chat"):
    client.emit("say", {"hello": namespace, "file": b"\x07"}, namespace=namespace)
    say("post", *received.get(timeout=PATIENCE))

# The server disconnects one namespace, the client the rest.
client.emit("kick-me")
say("end", *received.get(timeout=PATIENCE))
call("echo", "still here", namespace="/chat")
client.disconnect()

refused = socketio.Client(reconnection=False)
reasons = queue.Queue()
refused.on("connect_error", reasons.put, namespace="/guarded")
refused.connect(url, transports=transports, namespaces=["/guarded"], wait=False)
say("refused", reasons.get(timeout=PATIENCE))
refused.disconnect()
