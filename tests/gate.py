#!/usr/bin/env python3
"""The configurations in ops/gate with the real proxies, before HLS segments and the release binary.

    cargo build --release && tests/gate.py [--quick] [--all] [--browser] [--envoy PROGRAM] [--binary target/release/streamer]

Only the ports are changed in the configurations. The last line is `N passed, N failed`; before it come the figures: what
the gate adds to a request for a segment. Loopback only; every process that it starts is ended by its id. It takes
Python's standard library, nginx, caddy, haproxy and envoy; one that is absent is skipped, and fails with --all.
With --browser real players play through them, too: see `tests/browser/gate.mjs`.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from engine import free_port

ROOT = Path(__file__).resolve().parent.parent
LEASE = 2
ORIGIN = "http://localhost:8090"
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

    def allows(self):
        """Whose page may read this answer."""
        return self.headers.get_all("Access-Control-Allow-Origin")


def ask(port, path, method="GET", source="127.0.0.1", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    try:
        connection.request(method, path, headers=headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


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
        """Seconds of its threads, and of its children's."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        threads = [one for pid in [self.process.pid, *children] for one in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(one.read_text().split()[0]) for one in threads) / 1e9


class Streamer(Program):
    def __init__(self, binary, cwd, *more, lease=LEASE):
        self.admin = free_port()
        port = free_port()
        flags = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{self.admin}", "--lease", f"{lease}s"]
        # Its own CORS fields must not come on top of the proxy's.
        super().__init__(port, [binary, *flags, "--cors", "*", "--log", "off", *more], cwd)

    def call(self, method, user, query=None):
        return ask(self.port, "/?" + urlencode(query or {}), method, Authorization="Basic " + basic(user))

    def streams(self, user):
        streams = json.loads(self.call("GET", user).body)["streams"]
        return sorted(f"{one['id']} {one.get('device')}" for one in streams)

    def end(self, user, **query):
        return ask(self.admin, f"/users/{user}?" + urlencode(query), "DELETE")


CONFIG = {"njs": "edge/njs.conf", "caddy": "Caddyfile", "nginx": "nginx.conf", "forwarded": "forwarded.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml"}
COMMAND = {
    "nginx": ["nginx", "-p", ".", "-c", "nginx.conf"],
    "forwarded": ["nginx", "-p", ".", "-c", "forwarded.conf"],
    "njs": ["nginx", "-p", ".", "-c", "njs.conf"],
    "caddy": ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"],
    "haproxy": ["haproxy", "-f", "haproxy.cfg"],
    "envoy": ["envoy", "-c", "envoy.yaml", "-l", "warn", "--use-dynamic-base-id"],
}
FILES = """daemon off; error_log stderr crit; pid nginx.pid; events {}
http { access_log off; server { listen 127.0.0.1:8081; root .; } }"""


def proxy(name, ports, folder, change=lambda text: text):
    """A proxy with our configuration, `change`d, in a folder of its own that sees the videos. `ports` has what it asks."""
    home = Path(tempfile.mkdtemp(dir=folder))
    home.chmod(0o755)  # nginx serves as another user where root starts it, and has to come in.
    (home / "videos").symlink_to(folder / "videos")
    port = free_port()
    config = CONFIG.get(name, "nginx.conf")
    for file in [config, *{"haproxy": ["gate.lua"], "njs": ["edge/njs.mjs", "edge/check.mjs"]}.get(name, [])]:
        text = FILES if name == "files" else (ROOT / "ops/gate" / file).read_text()
        text = change(text) if file == config else text
        for was, now in {**ports, 8002 if name == "forwarded" else 8081 if name == "files" else 8080: port}.items():
            text = text.replace(was, str(now)) if isinstance(was, str) else re.sub(rf"(:|: )(?<!\d){was}\b", rf"\g<1>{now}", text)
        (home / Path(file).name).write_text(text)
    return Program(port, COMMAND.get(name, COMMAND["nginx"]), home)


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


def cross_origin(gate, streamer, files):
    """What a page of another origin may read, whatever the answer."""
    asks = {"Origin": ORIGIN, "Authorization": "Basic " + basic("olga"), "Cookie": "device=tv"}
    path = "/videos/match/seg0.ts"
    fields = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    preflight = ask(gate.port, path, "OPTIONS", Origin=ORIGIN, **fields)
    check("a preflight needs no credentials", (preflight.status, preflight.allows()), lambda seen: seen[0] in (200, 204) and seen[1] == [ORIGIN])
    check("and lets them come", preflight.headers["Access-Control-Allow-Headers"], lambda value: "authorization" in value)
    whole = ask(gate.port, path, **asks)
    check("200", (whole.status, whole.allows()), (200, [ORIGIN]))
    check("with credentials", whole.headers["Access-Control-Allow-Credentials"], "true")
    check("a cache keeps them apart", "Origin" in (whole.headers["Vary"] or "") or not files, True)
    for status, more in [(206, {"Range": "bytes=0-9"}), (416, {"Range": "bytes=999999-"}), (304, {"If-Modified-Since": whole.headers["Last-Modified"]})]:
        answer = ask(gate.port, path, **asks, **more)
        check(f"{status}", (answer.status, answer.allows()), (status, [ORIGIN]))
    for status, where in [(404, "/videos/match/none.ts"), (400, f"/videos/{'x' * 300}/seg0.ts")]:
        answer = ask(gate.port, where, **asks)
        check(f"{status}", (answer.status, answer.allows()), (status, [ORIGIN]))
    nobody = ask(gate.port, path, Origin=ORIGIN)
    check("401", (nobody.status, nobody.allows(), len(nobody.headers.get_all("WWW-Authenticate"))), (401, [ORIGIN], 1))
    for device in ["phone", "car"]:
        ask(gate.port, path, **{**asks, "Cookie": f"device={device}"})
    full = ask(gate.port, path, **{**asks, "Cookie": "device=watch"})
    check("403", (full.status, full.allows()), (403, [ORIGIN]))
    check("its page may read when to ask again", full.headers["Access-Control-Expose-Headers"].lower(), lambda value: "retry-after" in value)
    other = ask(gate.port, path, **{**asks, "Origin": "https://evil.example"})
    check("a page that is not listed may read nothing", (other.status, other.allows()), (200, None))


def what_counts(gate, streamer, files):
    def got(path, method="GET", **more):
        return ask(gate.port, path, method, Authorization="Basic " + basic("peggy"), Cookie="device=tv", **more).status

    for thing in ["poster.jpg", "text.vtt"]:
        check(f"{thing} is served", got(f"/videos/film/{thing}"), 200)
        check("not without credentials", ask(gate.port, f"/videos/film/{thing}").status, 401)
    if files:
        check("dead links are said to be dead", [got(f"/videos/dead{n}/seg0.ts") for n in range(4)], [404] * 4)
    check("to nobody without credentials", ask(gate.port, "/videos/dead0/seg0.ts").status, 401)
    check("nothing of it counts", streamer.streams("peggy"), [])
    nameless = ask(gate.port, "/videos/match/index.m3u8", Authorization="Basic " + basic("quinn"))
    check("nor does the playlist of a player without a name", (nameless.status, streamer.streams("quinn")), (200, []))
    check("a probe", got("/videos/match/seg0.ts", "HEAD"), 200)
    ranges = ["bytes=0-9", "bytes=-10", "bytes=50-", "bytes=0-1,5-9"]
    check("ranges", [got("/videos/match/seg0.ts", Range=one) for one in ranges], [206] * 4)
    check("a playlist of byte ranges", got("/videos/match/index.m3u8"), 200)
    check("all are one stream", streamer.streams("peggy"), ["match tv"])


def whose_fault(gate):
    who = {"Authorization": "Basic " + basic("rupert")}
    for path in [f"/videos/{'x' * 300}/seg0.ts", "/videos/match/%00.ts", "/videos/%00/seg0.ts", "/videos/match/seg0.ts?auth=%0a", "/videos/match/seg0.ts?device=%0a"]:
        status = ask(gate.port, path, **who).status
        check(f"{path[:40]} is no fault of ours", status, lambda seen: seen in (200, 400, 404))
    long = ask(gate.port, "/videos/match/seg0.ts", **who, **{f"X-{n}": "y" * 7000 for n in range(3)})
    check("nor are long fields", long.status, lambda seen: seen in (200, 400, 431))


def which_device(gate, streamer):
    def device(query="", **headers):
        user = f"device{passed}"
        status = ask(gate.port, "/videos/match/seg0.ts" + query, Authorization="Basic " + basic(user), **headers).status
        return status, streamer.streams(user)

    cmcd = "CMCD=bl%3D21300%2Csid%3D%226e2fb550-c457%22%2Csf%3Dh"
    rows = [
        ("the cookie", f"?device=query&{cmcd}", {"Cookie": "device=cookie"}, "cookie"),
        ("the query", f"?device=query&{cmcd}", {"Cookie": "device=bad:one"}, "query"),
        ("CMCD in the query", "?" + cmcd, {"CMCD-Session": 'sid="field"'}, "6e2fb550-c457"),
        ("in another order", "?CMCD=sid%3D%22first%22", {}, "first"),
        ("CMCD in a field", "", {"CMCD-Session": 'cid="x",sid="field"'}, "field"),
    ]
    for what, query, headers, name in rows:
        check(f"the device is {what}", device(query, **headers), (200, [f"match {name}"]))
    for what, query in [("too long", f"?device={'x' * 65}"), ("strange", "?device=a%26replace"), ("another key's", "?CMCD=nosid%3D%22x%22")]:
        check(f"a name that is {what} is none", device(query)[1][0].split()[1], lambda seen: not seen.strip("0123456789."))
    check("64 are a name", device(f"?device={'x' * 64}"), (200, ["match " + "x" * 64]))


def path_form(gate, streamer):
    path = f"/auth/{basic('sybil').rstrip('=')}/videos/match"
    statuses = [ask(gate.port, f"{path}/{file}?device=tv").status for file in ["index.m3u8", "seg0.ts", "poster.jpg", "none.ts"]]
    check("a path carries the credentials", (statuses, streamer.streams("sybil")), ([200, 200, 404, 404], ["match tv"]))
    check("wrong ones too", ask(gate.port, "/auth/x/videos/match/seg0.ts").status, 401)
    check("and nothing else", ask(gate.port, f"/auth/{basic('sybil')}/other").status, 404)
    written = b"".join(one.read_bytes() for one in Path(gate.cwd).glob("access.log"))
    check("the log has - in their place", (b"/auth/-/" in written, basic("sybil").rstrip("=").encode() in written),
          lambda seen: seen in [(True, False), (False, False)])


def tricks(gate, streamer):
    check("without the cookie the address is the device", segment(gate, "frank", "").status, 200)
    check("one stream", streamer.streams("frank"), lambda seen: len(seen) == 1 and not seen[0].strip("match 0123456789."))
    segment(gate, "frank", "x&switch&replace")
    check("a cookie adds no arguments", streamer.streams("frank"), lambda seen: len(seen) == 1 and "match " in seen[0])
    for path in ["/videos/match/../film/seg0.ts", "/videos/match/%2e%2e/film/seg0.ts", "/videos/match%2f..%2ffilm/seg0.ts"]:
        user = f"grace{passed}"
        status = ask(gate.port, path, Authorization="Basic " + basic(user), Cookie="device=tv").status
        check(f"{path} is not counted as another video", (status, streamer.streams(user)),
              lambda seen: seen in [(200, ["film tv"]), (404, []), (400, [])])
    strange = ask(gate.port, "/videos/match%26replace/seg0.ts", Authorization="Basic " + basic("frank"))
    check("a strange name is no video", strange.status, 404)


def away(gate, streamer, says):
    with streamer:
        check("it flows", segment(gate, "heidi", "tv").status, 200)
    answer = segment(gate, "heidi", "tv", number=1)
    check("streamer away: shut, and said so", (answer.status, answer.json().get("status")), (503, 503 if says else None))
    check("with how long to wait", answer.headers["Retry-After"], "5" if says else None)
    page = segment(gate, "heidi", "tv", Origin=ORIGIN)
    check("to a page of another origin too", (page.status, page.allows()), (503, [ORIGIN]))
    with streamer:
        check("streamer back: it flows", segment(gate, "heidi", "tv", number=2).status, 200)


def opened(text):
    """nginx's configuration with the lines changed that its comment names."""
    for line in ["proxy_intercept_errors on;", "error_page 502 503 504 = @open;"]:
        text = text.replace("# " + line, line)
    return text


def stay_open(streamer, folder):
    with proxy("nginx", {8000: streamer.port}, folder, opened) as gate:
        answer = segment(gate, "ivan", "tv")
        check("the line changed, streamer away: open", (answer.status, answer.body), (200, SEGMENT))
        check("a range too", segment(gate, "ivan", "tv", Range="bytes=0-9").status, 206)
        with streamer:
            check("streamer back: shut to who has no credentials", ask(gate.port, "/videos/match/seg0.ts?auth=%0a").status, 401)
            for device in ["tv", "phone", "car"]:
                segment(gate, "ivan", device)
            until("and counted", lambda: segment(gate, "ivan", "watch").status, 403)


def tokens(name, binary, folder):
    """Signed tokens in a path, a cookie and a query: the scheme's line is changed."""
    (key := folder / "key").write_bytes(subprocess.run([binary, "key"], capture_output=True, check=True).stdout)
    key.chmod(0o600)
    token = subprocess.run([binary, "token", "ursula", "--secret", key], capture_output=True, check=True, text=True).stdout.strip()
    streamer = Streamer(binary, folder, "--secret", str(key))
    change = lambda text: text.replace("default Basic;", "default Bearer;").replace('"Basic {token}"', '"Bearer {token}"')
    with streamer, proxy(name, {8000: streamer.port}, folder, change) as gate:
        path = "/videos/match/seg0.ts"
        asked = [ask(gate.port, f"/auth/{token}{path}"), ask(gate.port, path, Cookie=f"auth={token}"), ask(gate.port, f"{path}?auth={token}")]
        check("a signed token in the path, a cookie, a query", [one.status for one in asked], [200] * 3)
        check("a forged one in none", ask(gate.port, f"/auth/{token[:-1]}{path}").status, 401)


def not_shared(streamer, folder):
    """The name and the address together: machines cannot share a cookie."""
    def both(text):
        return text.replace("default $name; }", "default $name@$remote_addr; }").replace("{1,64}", "{1,24}")
    with streamer, proxy("nginx", {8000: streamer.port}, folder, both) as gate:
        statuses = [segment(gate, "trent", "tv", source=f"127.0.0.{n}").status for n in range(1, 5)]
        check("four machines with one cookie are four", (statuses, len(streamer.streams("trent"))), ([200] * 3 + [403], 3))


def kept_yes(streamer, folder):
    lines = lambda text: text.replace("# proxy_cache gate;", "proxy_cache gate;").replace("# proxy_cache_valid 204", "proxy_cache_valid 204")
    with streamer, proxy("nginx", {8000: streamer.port}, folder, lines) as gate:
        check("yes is kept: the first", segment(gate, "judy", "tv").status, 200)
        streamer.end("judy", hold="60s")
        check("an end is not seen within the second", segment(gate, "judy", "tv").status, 200)
        until("and is after it", lambda: segment(gate, "judy", "tv").status, 403)


def forwarded(streamer, folder):
    def at(uri, **headers):
        return ask(gate.port, "/", **{"X-Forwarded-Uri": uri, "X-Forwarded-For": "192.0.2.7", **headers})

    with streamer, proxy("forwarded", {8000: streamer.port}, folder) as gate:
        who = {"Authorization": "Basic " + basic("kim")}
        for device in ["tv", "phone", "car"]:
            check(f"Traefik's question for the {device}", at("/videos/match/seg0.ts?x=%2F", Cookie=f"device={device}", **who).status, 200)
        check("for a fourth", at("/videos/match/seg0.ts", **who), refused())
        check("by a query", at(f"/videos/match/seg0.ts?auth={basic('leo')}").status, 200)
        check("of that address", streamer.streams("leo"), ["match 192.0.2.7"])
        check("the last of several", at("/videos/film/seg0.ts", **{"X-Forwarded-For": "192.0.2.1, 192.0.2.8", "Authorization": "Basic " + basic("leo")}).status, 200)
        check("counts", streamer.streams("leo"), ["film 192.0.2.8", "match 192.0.2.7"])
        for path in ["/videos/a/../b/x.ts", "/videos/a/%2e./b/x.ts", "//videos/a/x.ts", "/videos/./x.ts", "/other/x.ts", "/videos/a/"]:
            check(f"{path} is refused", at(path, **who).status, 404)
        check("a preflight is let through", at("/videos/match/seg0.ts", **{"X-Forwarded-Method": "OPTIONS"}).status, 204)

        original = {"X-Original-URL": "https://example.com/videos/film/seg0.ts?device=tv", "Authorization": "Basic " + basic("mona")}
        check("ingress-nginx's question", ask(gate.port, "/original", **original, **{"X-Forwarded-Uri": "/videos/other/x.ts"}).status, 200)
        check("is about its own field", streamer.streams("mona"), ["film tv"])
        bare = {"X-Original-URL": original["X-Original-URL"], "X-Forwarded-Method": "OPTIONS"}
        check("a viewer's field opens nothing", ask(gate.port, "/original", **bare).status, 401)
        check("nor before Envoy's question", ask(gate.port, "/gate/videos/film/seg0.ts", **{"X-Forwarded-Method": "OPTIONS"}).status, 401)
    with proxy("forwarded", {8000: streamer.port}, folder) as gate:
        check("streamer away", at("/videos/match/seg0.ts", **who).status, 503)


def pass_key(binary, folder):
    if not (key := folder / "pass.keys").exists():
        key.write_bytes(subprocess.run([binary, "key"], capture_output=True, check=True).stdout)
        key.chmod(0o600)
    return key


def edge(binary, folder):
    """nginx with njs lets through whoever has a pass, and asks nobody."""
    key = pass_key(binary, folder)
    streamer = Streamer(binary, folder, "--pass", str(key), "--endpoint", "/pass/{pass}/videos/{id}/index.m3u8")
    with streamer, proxy("njs", {"THE-KEY": "an-older-key-of-thirty-two-bytes-or-so " + key.read_text().strip()}, folder) as gate:
        def got(path, given, **more):
            return ask(gate.port, f"{path}?pass={given}", **more).status

        def beat(method, user="victor", **query):
            answer = streamer.call(method, user, {"id": "match", "device": "tv", **query})
            return answer.status, json.loads(answer.body)

        first = beat("POST")[1]
        given, segment = first["pass"], "/videos/match/seg0.ts"
        check("a pass opens its video", [got(segment, given), got("/videos/match/index.m3u8", given)], [200, 200])
        check("in the path too", [ask(gate.port, one).status for one in [first["endpoint"], f"/pass/{given}{segment}"]], [200, 200])
        check("to a page of another origin", ask(gate.port, f"{segment}?pass={given}", Origin=ORIGIN).allows(), [ORIGIN])
        film = [got("/videos/film/seg0.ts", given), got("/videos/match/../film/seg0.ts", given), got("/videos/match/%2e%2e/film/seg0.ts", given)]
        check("and no other", film, [403] * 3)
        check("no pass, none", [ask(gate.port, segment).status, got(segment, given[:-1]), got(segment, "")], [403] * 3)
        own = [ask(streamer.port, "/?id=match", Authorization=f"Bearer {given}").status]
        check("it never authenticates", own, [401])
        lengths = [got(segment, beat("POST", user)[1]["pass"]) for user in ["v", "vi", "vic", "zoë"]]
        check("whatever its length, whatever the name", lengths, [200] * 4)
        check("each heartbeat gives the next one", got(segment, beat("PATCH")[1]["pass"]), 200)
        streamer.end("victor", id="match", device="tv", reason="Enough.")
        status, refusal = beat("PATCH")
        check("who is refused gets no next one", (status, "pass" in refusal), (410, False))
        ended = time.monotonic()
        until("and no segment after the lease and 30 s", lambda: got(segment, given), 403, within=LEASE + 32)
        check("and not before", time.monotonic() - ended, lambda seconds: seconds > 20)


def timed(gate, file, rounds):
    """Many requests for one file, one after another on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)
    headers = {"Authorization": "Basic " + basic("mallory"), "Cookie": "device=tv"}
    for _ in range(rounds):
        connection.request("GET", f"/videos/match/{file}", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200 and len(answer.read()) > 0
    connection.close()


def figures(name, streamer, folder, requests, rounds):
    """What the gate costs: the CPU of proxy and streamer together over that of the proxy alone, the median of pairs."""
    def bare(text):
        text = text.replace("auth_request /gate;", "")
        return re.sub(r"(\t*)forward_auth 127.*?\n\1\}\n", "", text, flags=re.S)

    ports = {8000: streamer.port}
    with streamer, proxy(name, ports, folder) as gate, proxy(name, ports, folder, bare) as plain:
        for file, size in [("small.ts", "188 B"), ("seg0.ts", "94 KB"), ("large.ts", "1 MB"), ("huge.ts", "4 MB")]:
            pairs = []
            for _ in range(rounds):
                before = plain.cpu()
                timed(plain, file, requests)
                without, before, asked = plain.cpu() - before, gate.cpu(), streamer.cpu()
                timed(gate, file, requests)
                pairs.append((gate.cpu() - before + streamer.cpu() - asked, without, streamer.cpu() - asked))
            middle = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
            us = [one / requests * 1e6 for one in middle]
            print(f"{name}, a segment of {size}: {us[1]:.0f} µs of CPU without the gate, {us[0]:.0f} µs with it "
                  f"({us[0] / us[1]:.2f} ×), of which streamer {us[2]:.0f} µs", flush=True)


def browser(name, binary, folder):
    """Players in Chromium, on a page of another origin. All four where the proxy is ours to recommend."""
    page = free_port()
    players = {"njs": ["pass"], "haproxy": ["hls"], "envoy": ["hls"]}.get(name, ["hls", "shaka", "dash", "videojs"])
    # A player's buffer is shorter than this lease.
    streamer = Streamer(binary, folder, "--pass", str(pass_key(binary, folder)), lease=30)
    stack, gate = gates(name, streamer, folder, page)
    with stack, streamer:
        origins = [f"http://127.0.0.1:{port}" for port in [gate.port, streamer.port, streamer.admin]]
        done = subprocess.run(["node", ROOT / "tests/browser/gate.mjs", str(page), *origins, *players])
        check(f"{' '.join(players)} through {name}", done.returncode, 0)


def gates(name, streamer, folder, page=8090):
    """The proxy, and what it needs around it."""
    stack = contextlib.ExitStack()
    ports = {8000: streamer.port, 8090: page}
    if name == "njs":
        ports["THE-KEY"] = (folder / "pass.keys").read_text().strip()
    if name in ["haproxy", "envoy"]:
        ports[8081] = stack.enter_context(proxy("files", {}, folder)).port
    if name == "envoy":
        ports[8002] = stack.enter_context(proxy("forwarded", ports, folder)).port
    return stack, stack.enter_context(proxy(name, ports, folder))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--binary", default=ROOT / "target/release/streamer", type=Path)
    options.add_argument("--browser", action="store_true", help="real players, too")
    options.add_argument("--envoy", help="where it is")
    options.add_argument("--quick", action="store_true", help="fewer requests for the figures")
    options.add_argument("--all", action="store_true", help="fail where a proxy is absent")
    options = options.parse_args()
    if options.envoy:
        COMMAND["envoy"][0] = str(Path(options.envoy).resolve())
    folder = Path(tempfile.mkdtemp(prefix="streamer-gate-"))
    folder.chmod(0o755)
    try:
        for video in ["match", "film"]:
            (folder / "videos" / video).mkdir(parents=True)
            (folder / "videos" / video / "index.m3u8").write_text(PLAYLIST)
            (folder / "videos" / video / "small.ts").write_bytes(SEGMENT[:188])
            for number in range(3):
                (folder / "videos" / video / f"seg{number}.ts").write_bytes(SEGMENT)
        for name in ["poster.jpg", "text.vtt"]:
            (folder / "videos/film" / name).write_text("not media")
        (folder / "videos/match/large.ts").write_bytes(os.urandom(1 << 20))
        (folder / "videos/match/huge.ts").write_bytes(os.urandom(4 << 20))
        if options.browser:
            subprocess.run(["node", ROOT / "tests/browser/media.mjs", folder / "videos/clip"], check=True)
        streamer = Streamer(options.binary.resolve(), folder)
        for name in ["nginx", "caddy", "haproxy", "envoy"]:
            if not shutil.which(COMMAND[name][0]):
                print(f"skipped: {name} is not installed")
                check(f"{name} is there", "no", lambda _: not options.all)
                continue
            print(f"-- {name}")
            files = name in ["nginx", "caddy"]  # Does it have the videos itself?
            stack, gate = gates(name, streamer, folder)
            with stack:
                with streamer:
                    three_flow(gate, streamer)
                    one_is_stopped(gate, streamer)
                    the_lid_closes(gate)
                    credentials(gate, streamer)
                    tricks(gate, streamer)
                    cross_origin(gate, streamer, files)
                    what_counts(gate, streamer, files)
                    whose_fault(gate)
                    which_device(gate, streamer)
                    path_form(gate, streamer)
                away(gate, streamer, says=name != "envoy")  # It drops the body of a 5xx.
            if files:
                tokens(name, options.binary.resolve(), folder)
            if name == "nginx":
                stay_open(streamer, folder)
                not_shared(streamer, folder)
                kept_yes(streamer, folder)
                edge(options.binary.resolve(), folder)
                forwarded(streamer, folder)
            if options.browser:
                for one in [name, "njs"] if name == "nginx" else [name]:
                    browser(one, options.binary.resolve(), folder)
            if files:
                figures(name, streamer, folder, *((50, 3) if options.quick else (2000, 11)))
    finally:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
