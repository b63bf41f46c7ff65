#!/usr/bin/env python3
"""The configurations in ops/gate with the real proxies, before HLS segments and the release binary.

    cargo build --release && tests/gate.py [--quick] [--all] [--binary target/release/streamer]

Only the ports are changed in the configurations. The last line is `N passed, N failed`; before it come the figures: what
the gate adds to a request for a segment. Loopback only; every process that it starts is ended by its id. It takes
Python's standard library, nginx and caddy; one that is absent is skipped, and fails with --all.
"""

import argparse
import base64
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
LEASE = 2
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n" + "".join(f"#EXTINF:6,\nseg{n}.ts\n" for n in range(3)) + "#EXT-X-ENDLIST\n"
SEGMENT = os.urandom(188 * 500)
passed = failed = 0


def check(what, seen, good):
    global passed, failed
    fine = good(seen) if callable(good) else seen == good
    passed, failed = passed + fine, failed + (not fine)
    print(f"ok      {what}" if fine else f"FAILED  {what}: {seen!r}", flush=True)


def until(what, look, good, within=LEASE + 3):
    late = time.monotonic() + within
    while (seen := look()) != good and time.monotonic() < late:
        time.sleep(0.1)
    check(what, seen, good)


def basic(user):
    return base64.b64encode(f"{user}:x".encode()).decode()


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body) if self.headers["Content-Type"] == "application/problem+json" else {}


def ask(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


class Program:
    """One that listens on `port`, and is ended at the end of its block."""

    def __init__(self, port, command, cwd):
        self.port, self.command, self.cwd = port, command, cwd

    def __enter__(self):
        self.said = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, cwd=self.cwd, stdout=self.said, stderr=self.said)
        late = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > late:
                    self.said.seek(0)
                    sys.exit(f"{self.command[0]} did not start: {self.said.read().decode()}")
                time.sleep(0.02)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)

    def cpu(self):
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(one.read_text().split()[0]) for one in threads) / 1e9


class Streamer(Program):
    def __init__(self, binary, cwd):
        self.admin = free_port()
        port = free_port()
        flags = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{self.admin}", "--lease", f"{LEASE}s"]
        super().__init__(port, [binary, *flags, "--log", "off"], cwd)

    def call(self, method, user, query=None):
        return ask(self.port, "/?" + urlencode(query or {}), method, Authorization="Basic " + basic(user))

    def streams(self, user):
        streams = json.loads(self.call("GET", user).body)["streams"]
        return sorted(f"{one['id']} {one.get('device')}" for one in streams)

    def end(self, user, **query):
        return ask(self.admin, f"/users/{user}?" + urlencode(query), "DELETE")


def proxy(name, streamer, folder, change=lambda text: text):
    """nginx or caddy with our configuration, `change`d, in a folder of its own that sees the videos."""
    config = {"caddy": "Caddyfile", "nginx": "nginx.conf", "forwarded": "forwarded.conf"}[name]
    text = change((ROOT / "ops/gate" / config).read_text())
    port = free_port()
    text = re.sub(r"\b127\.0\.0\.1:(8080|8002)\b", f"127.0.0.1:{port}", text)
    text = re.sub(r"\b127\.0\.0\.1:8000\b", f"127.0.0.1:{streamer.port}", text)
    home = Path(tempfile.mkdtemp(dir=folder))
    (home / "videos").symlink_to(folder / "videos")
    (home / config).write_text(text)
    if name == "caddy":
        return Program(port, ["caddy", "run", "--config", config, "--adapter", "caddyfile"], home)
    # Its worker is another user where root starts it, and has to come in.
    home.chmod(0o755)
    return Program(port, ["nginx", "-p", str(home), "-c", str(home / config)], home)


def segment(gate, user, device, video="match", number=0, **more):
    return ask(gate.port, f"/videos/{video}/seg{number}.ts", Authorization="Basic " + basic(user), Cookie=f"device={device}", **more)


def refused(reason=None):
    return lambda answer: (answer.status, answer.json().get("status"), answer.json().get("reason")) == (403, 403, reason)


def three_flow(gate, streamer):
    for device in ["tv", "phone", "car"]:
        playlist = ask(gate.port, "/videos/match/index.m3u8", Authorization="Basic " + basic("alice"), Cookie=f"device={device}")
        check(f"the playlist flows to the {device}", playlist.body, PLAYLIST.encode())
        check("and a segment", segment(gate, "alice", device).body, SEGMENT)
    check("three play", streamer.streams("alice"), ["match car", "match phone", "match tv"])
    fourth = segment(gate, "alice", "watch")
    check("the fourth is refused on its first segment", fourth, refused())
    check("and can ask which one to stop", len(fourth.json().get("streams", [])), 3)
    check("and knows how long to wait", fourth.headers["Retry-After"], lambda value: 0 <= int(value) <= LEASE)
    head = ask(gate.port, "/videos/match/seg0.ts", "HEAD", Authorization="Basic " + basic("alice"), Cookie="device=watch")
    check("HEAD too", (head.status, head.body), (403, b""))
    check("another user is not", segment(gate, "bob", "watch").status, 200)


def one_is_stopped(gate, streamer):
    for device in ["tv", "phone", "car"]:
        check(f"{device} plays", segment(gate, "carol", device).status, 200)
    streamer.end("carol", id="match", device="tv", reason="Not in your region.")
    stopped = segment(gate, "carol", "tv", number=1)
    check("an operator's end stops the next segment", stopped, refused("operator"))
    check("and says why", stopped.json().get("message"), "Not in your region.")
    check("the others play on", [segment(gate, "carol", one).status for one in ["phone", "car"]], [200, 200])

    check("the slot is taken again", segment(gate, "carol", "watch").status, 200)
    query = {"id": "match", "device": "tablet", "replace": "match", "replaceDevice": "phone"}
    check("one is replaced", streamer.call("POST", "carol", query).status, 201)
    check("and gets no next segment", segment(gate, "carol", "phone", number=1), refused("replaced"))
    check("its place is another's", segment(gate, "carol", "tablet").status, 200)

    streamer.end("carol", hold="60s", reason="Please call us.")
    held = segment(gate, "carol", "car", number=2)
    check("a hold stops all", held, refused("held"))
    check("and says why, too", held.json().get("message"), "Please call us.")


def the_lid_closes(gate):
    for device in ["tv", "phone", "car"]:
        segment(gate, "dave", device)

    def third_is_closed():
        for device in ["tv", "phone"]:
            segment(gate, "dave", device)
        return segment(gate, "dave", "watch").status

    began = time.monotonic()
    until("a viewer who only closes the lid frees the slot after a lease", third_is_closed, 200)
    check("and not before", time.monotonic() - began, lambda seconds: seconds > LEASE * 0.8)


def credentials(gate, streamer):
    path = "/videos/match/seg0.ts"
    check("by a cookie", ask(gate.port, path, Cookie=f"device=tv; auth={basic('erin')}").status, 200)
    check("by a query", ask(gate.port, f"{path}?auth={basic('erin')}", Cookie="device=car").status, 200)
    check("both are she", streamer.streams("erin"), ["match car", "match tv"])
    none = ask(gate.port, path)
    check("none at all", (none.status, none.json().get("status")), (401, 401))
    check("are asked for", none.headers["WWW-Authenticate"], lambda value: value.startswith("Basic "))


def tricks(gate, streamer):
    check("without the cookie the address is the device", segment(gate, "frank", "").status, 200)
    check("one stream", streamer.streams("frank"), ["match 127.0.0.1"])
    segment(gate, "frank", "x&switch&replace")
    check("a cookie adds no arguments", streamer.streams("frank"), lambda seen: len(seen) == 1 and "match " in seen[0])
    for path in ["/videos/match/../film/seg0.ts", "/videos/match/%2e%2e/film/seg0.ts", "/videos/match%2f..%2ffilm/seg0.ts"]:
        user = "grace" + str(len(path))
        status = ask(gate.port, path, Authorization="Basic " + basic(user), Cookie="device=tv").status
        check(f"{path} is not counted as another video", (status, streamer.streams(user)),
              lambda seen: seen in [(200, ["film tv"]), (404, []), (400, [])])
    strange = ask(gate.port, "/videos/match%26replace/seg0.ts", Authorization="Basic " + basic("frank"))
    check("a strange name is no video", strange.status, 404)


def away(gate, streamer):
    with streamer:
        check("it flows", segment(gate, "heidi", "tv").status, 200)
    answer = segment(gate, "heidi", "tv", number=1)
    check("streamer away: shut, and said so", (answer.status, answer.json().get("status")), (503, 503))
    check("with how long to wait", answer.headers["Retry-After"], "5")
    with streamer:
        check("streamer back: it flows", segment(gate, "heidi", "tv", number=2).status, 200)


def opened(name):
    """The configuration with the lines changed that its comment names."""
    def nginx(text):
        text = text.replace("# proxy_intercept_errors on;", "proxy_intercept_errors on;")
        return text.replace("# error_page 502 503 504 = @open;", "error_page 502 503 504 = @open;")

    def caddy(text):
        return re.sub(r"(handle @away \{).*?\n\t\t\}", r"\1\n\t\t\tfile_server\n\t\t}", text, flags=re.S)
    return {"nginx": nginx, "caddy": caddy}[name]


def stay_open(name, streamer, folder):
    with proxy(name, streamer, folder, opened(name)) as gate:
        check("the line changed, streamer away: open", segment(gate, "ivan", "tv").body, SEGMENT)
        with streamer:
            for device in ["tv", "phone", "car"]:
                segment(gate, "ivan", device)
            until("streamer back: counted", lambda: segment(gate, "ivan", "watch").status, 403)


def kept_yes(streamer, folder):
    with streamer, proxy("nginx", streamer, folder, lambda text: text.replace("# proxy_cache_valid 204", "proxy_cache_valid 204")) as gate:
        check("yes is kept: the first", segment(gate, "judy", "tv").status, 200)
        streamer.end("judy", hold="60s")
        check("an end is not seen within the second", segment(gate, "judy", "tv").status, 200)
        until("and is after it", lambda: segment(gate, "judy", "tv").status, 403)


def forwarded(streamer, folder):
    def at(uri, **headers):
        return ask(gate.port, "/", **{"X-Forwarded-Uri": uri, "X-Forwarded-For": "192.0.2.7", **headers})

    with streamer, proxy("forwarded", streamer, folder) as gate:
        who = {"Authorization": "Basic " + basic("kim")}
        for device in ["tv", "phone", "car"]:
            check(f"Traefik's question for the {device}", at("/videos/match/seg0.ts?x=%2F", Cookie=f"device={device}", **who).status, 204)
        check("for a fourth", at("/videos/match/seg0.ts", **who), refused())
        check("by a query", at(f"/videos/match/seg0.ts?auth={basic('leo')}").status, 204)
        check("of that address", streamer.streams("leo"), ["match 192.0.2.7"])
        for path in ["/videos/a/../b/x", "/videos/a/%2e./b/x", "//videos/a/x", "/videos/./x", "/other/x"]:
            check(f"{path} is refused", at(path, **who).status, 404)
    with proxy("forwarded", streamer, folder) as gate:
        check("streamer away", at("/videos/match/seg0.ts", **who).status, 503)


def timed(gate, rounds):
    """Microseconds of each of many requests for a small segment, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)
    headers = {"Authorization": "Basic " + basic("mallory"), "Cookie": "device=tv"}
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        connection.request("GET", "/videos/match/small.ts", headers=headers)
        assert len(connection.getresponse().read()) == 188
        took.append((time.perf_counter() - began) * 1e6)
    connection.close()
    return sorted(took)


def figures(name, streamer, folder, rounds):
    def bare(text):
        text = text.replace("auth_request /gate;", "")
        return re.sub(r"\t*forward_auth 127.*?\n\t\t\t\}\n", "", text, flags=re.S)

    with streamer, proxy(name, streamer, folder) as gate, proxy(name, streamer, folder, bare) as plain:
        timed(gate, 50), timed(plain, 50)
        without, before = timed(plain, rounds), streamer.cpu()
        with_gate = timed(gate, rounds)
        spent = (streamer.cpu() - before) / rounds * 1e6
        p = lambda took, share: took[int(len(took) * share)]
        print(f"{name}, {rounds} segments one after another: p50 {p(without, .5):.0f} µs without the gate, {p(with_gate, .5):.0f} µs with it; "
              f"p99 {p(without, .99):.0f} and {p(with_gate, .99):.0f} µs; streamer's CPU {spent:.1f} µs a segment", flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--binary", default=ROOT / "target/release/streamer", type=Path)
    options.add_argument("--quick", action="store_true", help="a tenth of the requests for the figures")
    options.add_argument("--all", action="store_true", help="fail where a proxy is absent")
    options = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="streamer-gate-"))
    folder.chmod(0o755)
    try:
        for video in ["match", "film"]:
            (folder / "videos" / video).mkdir(parents=True)
            (folder / "videos" / video / "index.m3u8").write_text(PLAYLIST)
            (folder / "videos" / video / "small.ts").write_bytes(SEGMENT[:188])
            for number in range(3):
                (folder / "videos" / video / f"seg{number}.ts").write_bytes(SEGMENT)
        for name in ["nginx", "caddy"]:
            if not shutil.which(name):
                print(f"skipped: {name} is not installed")
                check(f"{name} is there", "no", lambda _: not options.all)
                continue
            print(f"-- {name}")
            streamer = Streamer(options.binary.resolve(), folder)
            with proxy(name, streamer, folder) as gate:
                with streamer:
                    three_flow(gate, streamer)
                    one_is_stopped(gate, streamer)
                    the_lid_closes(gate)
                    credentials(gate, streamer)
                    tricks(gate, streamer)
                away(gate, streamer)
            stay_open(name, streamer, folder)
            if name == "nginx":
                kept_yes(streamer, folder)
                forwarded(streamer, folder)
            figures(name, streamer, folder, 1000 if options.quick else 10000)
    finally:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
