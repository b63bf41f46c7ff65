#!/usr/bin/env python3
"""Fires every alert of ops/alerts.yml once, in a real Prometheus that scrapes a real server.

    python3 tests/alerts.py --binary target/release/streamer

Ranges, offsets and `for` are made short, the expressions are those of the file. What cannot be brought about from outside
(a panic, a slow answer) is said by a stand-in that Prometheus scrapes as it does the server. Takes
half a minute, needs `prometheus` (Debian: apt install prometheus), and exits with 1 if an alert did not fire.
"""
import argparse, base64, hashlib, http.client, http.server, json, os, pathlib, re, resource, signal, socket, subprocess, sys, tempfile
import threading, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--binary", default=str(ROOT / "target/release/streamer"))
binary = arguments.parse_args().binary
folder = pathlib.Path(tempfile.mkdtemp(prefix="streamer-alerts-"))
children = []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A streamer on ports of its own, as one target of the job."""

    def __init__(self, *flags, stdout=subprocess.DEVNULL, before=None):
        self.ports, self.flags, self.stdout, self.before = (free_port(), free_port()), flags, stdout, before
        self.start()

    def start(self):
        public, admin = (f"127.0.0.1:{port}" for port in self.ports)
        command = [binary, "--listen", public, "--admin", admin, *self.flags]
        self.process = subprocess.Popen(command, stdout=self.stdout, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=self.before)
        children.append(self.process)
        while "listens on" not in (line := self.process.stderr.readline()):
            if not line:
                sys.exit(f"{command} does not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.ports[0])

    @property
    def target(self):
        return f"127.0.0.1:{self.ports[1]}"


def ask(connection, method, target, user, token="x"):
    fields = {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}
    connection.request(method, target, headers=fields)
    answer = connection.getresponse()
    answer.read()
    return answer.status


class StandIn(http.server.BaseHTTPRequestHandler):
    """Says what no test can bring about in the server. Counters begin at 0 and then rise."""

    begun = time.time()

    def do_GET(self):
        n = int(max(0, time.time() - StandIn.begun - 15))
        text = f"""streamer_panics_total {min(n, 1)}
streamer_request_duration_seconds_bucket{{le="0.025"}} {90 * n}
streamer_request_duration_seconds_bucket{{le="0.1"}} {100 * n}
streamer_request_duration_seconds_bucket{{le="+Inf"}} {100 * n}
"""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def prometheus(targets):
    """One that scrapes these each second, under the rules with short times; returns its address."""
    rules = (ROOT / "ops/alerts.yml").read_text()
    rules = re.sub(r"for: .*", "for: 1s", rules).replace("offset 1h", "offset 15s")
    rules = re.sub(r"\[(5|10|15)m\]", "[10s]", rules).replace("process_start_time_seconds{job=\"streamer\"}[10s]",
                                                              "process_start_time_seconds{job=\"streamer\"}[40s]")
    port = free_port()
    place = folder / str(port)
    place.mkdir()
    (place / "alerts.yml").write_text(rules)
    scrape = f"scrape_configs: [{{job_name: streamer, static_configs: [{{targets: {json.dumps(targets)}}}]}}]" if targets else ""
    (place / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [alerts.yml]\n{scrape}\n")
    command = ["prometheus", f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
               f"--web.listen-address=127.0.0.1:{port}"]
    children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(place / "log").open("w")))
    return f"http://127.0.0.1:{port}"


def firing(address):
    try:
        with urllib.request.urlopen(f"{address}/api/v1/alerts", timeout=5) as answer:
            alerts = json.load(answer)["data"]["alerts"]
    except OSError:
        return set()
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def small_disk():
    """No file of this process grows beyond 256 KiB; what would make it do so fails, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, 256 * 1024))


def users(*names, token="x"):
    digest = hashlib.sha256(token.encode()).hexdigest()
    return "".join(f"{name}:{digest}\n" for name in names)


def main():
    wanted = set(re.findall(r"- alert: (\w+)", (ROOT / "ops/alerts.yml").read_text()))
    stand_in = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=stand_in.serve_forever, daemon=True).start()

    full = Server("--limit", "1")                                            # refusals, users at their limit
    small = Server("--max-connections", "10", "--limit", "1000")             # players use all connections
    restarts, down = Server(), Server()
    deaf = Server(stdout=open("/dev/full", "w"))                             # a log that cannot be written
    stopping, stalled = Server("--grace", "1h"), Server()
    names = [f"user{i}" for i in range(300)]
    (folder / "users").write_text(users(*names))
    locked = Server("--users", str(folder / "users"))                        # tokens that are no longer taken
    kept = Server("--store", f"dir:{folder / 'streams'}", before=small_disk)    # a disk that is full
    away = Server("--store", f"redis://127.0.0.1:{free_port()}")               # an engine that is not there
    servers = [full, small, restarts, down, deaf, stopping, stalled, locked, kept, away]
    StandIn.begun = time.time()
    busy = prometheus([server.target for server in servers] + [f"127.0.0.1:{stand_in.server_address[1]}"])
    idle = prometheus([])
    time.sleep(6)

    down.process.kill()
    under_way = socket.create_connection(("127.0.0.1", stopping.ports[0]))
    under_way.sendall(b"POST /?id=V HTTP/1.1\r\n")
    time.sleep(0.2)
    stopping.process.terminate()
    stalled.process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    stalled.process.send_signal(signal.SIGCONT)

    seen, begun, turned = set(), time.time(), False
    players = [small.connect() for _ in range(10)]
    starts, beats, log, journal = full.connect(), locked.connect(), deaf.connect(), kept.connect()
    for i in range(150):
        ask(starts, "POST", "/?id=V", f"viewer{i}")
    for i, player in enumerate(players):
        ask(player, "POST", "/?id=V", f"viewer{i}")
    for second in range(60):
        for i in range(10):
            ask(starts, "POST", f"/?id=W{i}", f"viewer{i}")
            ask(players[i], "PATCH", "/?id=V", f"viewer{i}")
            name = names[(second * 10 + i) % len(names)]
            ask(beats, "POST", f"/?id={second}", name)
            ask(beats, "DELETE", f"/?id={second}", name)
            ask(log, "GET", "/", "ann")
            for _ in range(20):
                ask(journal, "POST", f"/?id={'x' * 200}{i}", f"viewer{i}")
        if second in (1, 4, 7, 10):
            restarts.restart()
        if not turned and time.time() - begun > 18:
            # A file with other tokens, and then one that cannot be read.
            turned = True
            (folder / "users").write_text(users(*names, token="another"))
            locked.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            (folder / "users").write_text("no line of a users file\n")
            locked.process.send_signal(signal.SIGHUP)
        seen |= firing(busy) | firing(idle) & {"StreamerMissing"}
        if seen >= wanted:
            break
        time.sleep(max(0, begun + second + 1 - time.time()))
    for name in sorted(wanted):
        print(f"{'fired  ' if name in seen else 'SILENT '} {name}")
    return 0 if seen >= wanted else 1


try:
    code = main()
finally:
    for child in children:
        child.kill()
        child.wait()
    subprocess.run(["rm", "-rf", str(folder)], check=False)
sys.exit(code)
