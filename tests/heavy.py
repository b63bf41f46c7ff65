#!/usr/bin/env python3
"""What one account can cost over a real Redis: limit 3, with 16 paused and 16 ended streams of the longest names.

    cargo build --release && tests/heavy.py [--binary target/release/streamer] [--server redis-server]

Its record is at most 10 KB. Its heartbeat costs two to three times a plain user's, in processor time of the engine and of the
server; what is allowed here is more, for a machine that is busy. Beside clients that beat one such account without end, others are
answered as beside as many that beat accounts of their own. The last line is `N passed, N failed`. Loopback only; it takes
Python's standard library and redis-server.
"""

import argparse
import base64
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

ID, DEVICE = "x" * 251, "d" * 60
BEATS, WINDOW = 4_000, 1
passed = failed = 0


def check(what, good, seen):
    global passed, failed
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok    ' if good else 'FAILED'}  {what}: {seen}", flush=True)


def request(method, user, stream, body=""):
    name = base64.b64encode(f"{user}:x".encode()).decode()
    return (f"{method} /?{stream} HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {name}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


class Client:
    def __init__(self, address):
        self.stream = socket.create_connection(address, 10)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def status(self):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        while len(self.rest) < length:
            self.more()
        self.rest = self.rest[length:]
        return int(head[9:12])

    def more(self):
        received = self.stream.recv(65536)
        assert received, "the server has closed"
        self.rest += received

    def call(self, *request_of):
        self.stream.sendall(request(*request_of))
        return self.status()

    def beats(self, user, stream, count):
        beat = request("PATCH", user, stream)
        for _ in range(count):
            self.stream.sendall(beat)
            assert self.status() == 200


class Engine:
    def __init__(self, program, folder):
        self.path = os.path.join(folder, "engine")
        command = [program, "--port", "0", "--unixsocket", self.path, "--save", "", "--dir", folder]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        late = time.monotonic() + 10
        while not os.path.exists(self.path):
            assert time.monotonic() < late, "no engine"
            time.sleep(0.02)

    def ask(self, *words):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(self.path)
            stream.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
            return stream.recv(1 << 20)


def cpu(pid):
    """Processor time of all threads, in seconds; finer than in /proc/PID/stat."""
    tasks = f"/proc/{pid}/task"
    return sum(int(open(f"{tasks}/{task}/schedstat").read().split()[0]) for task in os.listdir(tasks)) / 1e9


def fill(client, user):
    for n in range(32 + 3):
        stream = f"id={ID}{n:05}&device={DEVICE}{n:04}"
        assert client.call("POST", user, stream) == 201
        if n < 16:
            assert client.call("DELETE", user, stream) == 200
        elif n < 32:
            assert client.call("PATCH", user, stream, '{"state":"paused"}') == 200
    return stream


def cost(client, pids, user, stream):
    """Microseconds of engine and server for a heartbeat: the least of some attempts, for others use the machine too."""
    least = [float("inf")] * len(pids)
    for _ in range(5):
        before = [cpu(pid) for pid in pids]
        client.beats(user, stream, BEATS)
        least = [min(old, (cpu(pid) - was) / BEATS * 1e6) for old, pid, was in zip(least, pids, before)]
    return least


def p99_of_others(address, users, stream, seconds):
    """What a user hears who beats now and then, while eight clients do so without end."""
    stop = threading.Event()

    def greedy(number):
        client = Client(address)
        while not stop.is_set():
            client.beats(users[number % len(users)], stream, 16)

    threads = [threading.Thread(target=greedy, args=(number,), daemon=True) for number in range(8)]
    client, millis = Client(address), []
    assert client.call("POST", "good", "id=v") in (200, 201)
    [thread.start() for thread in threads]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        assert client.call("PATCH", "good", "id=v") == 200
        millis.append((time.perf_counter() - began) * 1000)
        time.sleep(0.002)
    stop.set()
    [thread.join() for thread in threads]
    return sorted(millis)[len(millis) * 99 // 100]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(os.path.dirname(__file__), "../target/release/streamer"))
    parser.add_argument("--server", default="redis-server")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(arguments.server, folder)
        command = [arguments.binary, "--listen", "127.0.0.1:0", "--admin", "off", "--log", "off", "--workers", "1",
                   "--store-timeout", "5s", "--store", f"redis+unix://{engine.path}"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={})
        try:
            address = re.search(r"http://([\d.]+):(\d+)", server.stderr.readline())
            measure((address[1], int(address[2])), engine, server)
        finally:
            for process in server, engine.process:
                process.terminate()
                process.wait(30)
    print(f"{passed} passed, {failed} failed")
    return failed > 0


def measure(address, engine, server):
    client = Client(address)
    heavy = fill(client, "heavy")
    size = len(engine.ask("GET", "streamer:heavy"))
    check("the record is of at most 10 KB", 5_000 < size <= 10_240, f"{size} bytes")
    for n in range(8):
        assert client.call("POST", f"plain{n}", "id=v&device=tv") == 201
    pids = engine.process.pid, server.pid
    plain, full = cost(client, pids, "plain0", "id=v&device=tv"), cost(client, pids, "heavy", heavy)
    for name, times, little, much in zip(("engine", "server"), (8, 8), plain, full):
        seen = f"{much / little:.1f} times: {much:.1f} µs, a plain one {little:.1f} µs"
        check(f"its heartbeat costs the {name} at most {times} times a plain one", much <= times * little, seen)
    usual = p99_of_others(address, [f"plain{n}" for n in range(8)], "id=v&device=tv", 4)
    beside = p99_of_others(address, ["heavy"], heavy, 4)
    check("others' p99 is as beside plain users", beside <= max(10 * usual, 100), f"{beside:.1f} ms, beside plain ones {usual:.1f} ms")


if __name__ == "__main__":
    sys.exit(main())
