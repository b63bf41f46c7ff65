#!/usr/bin/env python3
"""Fires every alert of ops/alerts.yml once, in a real Prometheus that scrapes real servers, and asks every question of the dashboard.

    python3 tests/alerts.py --binary target/release/streamer

Ranges, offsets and `for` are made short, the expressions are those of the file. What cannot be brought about from outside
(a panic, a slow answer) is said by a stand-in that Prometheus scrapes as it does the servers. Some servers share an engine, over
ways that delay or break; another's is stopped. Takes a minute, needs `prometheus` and `redis-server`, and exits with 1 if an alert did
not fire, a panel of ops/grafana.json got no data, or a metric is in no panel.
"""
import argparse, base64, hashlib, http.client, http.server, itertools, json, pathlib, re, resource, signal, socket, subprocess, sys, tempfile
import threading, time, urllib.parse, urllib.request

from engine import free_port, start

ROOT = pathlib.Path(__file__).resolve().parent.parent
arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--binary", default=str(ROOT / "target/release/streamer"))
binary = arguments.parse_args().binary
folder = pathlib.Path(tempfile.mkdtemp(prefix="streamer-alerts-"))
children = []


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


def play(server):
    """Ten players with some twenty requests a second between them, until the server is gone."""
    connection = server.connect()
    try:
        while True:
            for i in range(10):
                ask(connection, "POST", "/?id=V", f"viewer{i}")
                time.sleep(0.05)
    except (OSError, http.client.HTTPException):
        pass


class Engine:
    """A Redis that forgets."""

    def __init__(self):
        self.port = free_port()
        self.process = start("redis-server", self.port, folder)
        children.append(self.process)

    def send(self, command):
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(100)


class Way:
    """To an engine: each packet is late by `delay` seconds, and a connection breaks at its packet number `breaks`."""

    def __init__(self, engine, delay=0.0, breaks=0):
        self.engine, self.delay, self.breaks = engine, delay, breaks
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near = self.listener.accept()[0]
            try:
                far = socket.create_connection(("127.0.0.1", self.engine.port))
            except OSError:  # the test is over
                return
            packets = iter(range(1, self.breaks)) if self.breaks else itertools.count()
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.pass_on, args=(*pair, packets), daemon=True).start()

    def pass_on(self, source, target, packets):
        try:
            while (packet := source.recv(65536)) and next(packets, None) is not None:
                time.sleep(self.delay)
                target.sendall(packet)
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class StandIn(http.server.BaseHTTPRequestHandler):
    """Says what no test can bring about in the server. Counters begin at 0 and then rise."""

    begun = time.time()

    def do_GET(self):
        n = int(max(0, time.time() - StandIn.begun - 15))
        text = f"""streamer_panics_total {min(n, 1)}
streamer_workers 2
streamer_journal_oldest_seconds {12 * min(n, 1)}
streamer_parked_turns {120 * min(n, 1)}
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


def questions():
    """Each question of the dashboard, with the panel it is for."""
    dashboard = (ROOT / "ops/grafana.json").read_text()
    for panel in json.loads(dashboard)["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$instance", ".*")
            yield panel["title"], expression.replace("$__rate_interval", "30s").replace("$__range", "1m")


def unanswered(address):
    """The questions to which this Prometheus has no number to say."""
    for panel, expression in questions():
        with urllib.request.urlopen(f"{address}/api/v1/query?" + urllib.parse.urlencode({"query": expression}), timeout=5) as answer:
            rows = json.load(answer)["data"]["result"]
        if not any(row["value"][1] != "NaN" for row in rows):
            yield panel, expression


def unseen(servers):
    """The metrics of these servers that no panel asks for."""
    asked = " ".join(expression for _, expression in questions())
    for server in servers:
        with urllib.request.urlopen(f"http://{server.target}/metrics", timeout=5) as answer:
            for family in re.findall(r"# TYPE (\w+)", answer.read().decode()):
                if family not in asked:
                    yield family


def small_disk():
    """What would make a file of this process grow beyond its limit fails, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


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
    crowd = Server("--max-users", "10")                                        # as many users as there may be
    engine, hanging, barred = Engine(), Engine(), Engine()
    one, other, late, broken, hung, shut_out = (
        Server("--store", f"redis://127.0.0.1:{at.port}")
        for at in (engine, engine, Way(engine, delay=0.03), Way(engine, breaks=12), hanging, Way(barred, breaks=12)))
    servers = [full, small, restarts, down, deaf, stopping, stalled, locked, kept, away, crowd, one, other, late, broken,
               hung, shut_out]
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
    hanging.process.send_signal(signal.SIGSTOP)
    assert b"OK" in engine.send("SET streamer:mallory gibberish")
    assert b"OK" in barred.send("CONFIG SET requirepass changed")

    seen, begun, turned = set(), time.time(), False
    players = [small.connect() for _ in range(10)]
    starts, beats, log, journal = full.connect(), locked.connect(), deaf.connect(), kept.connect()
    for server in (one, other, late, broken, hung, shut_out):
        threading.Thread(target=play, args=(server,), daemon=True).start()
    unreadable = one.connect()
    guests, strangers = crowd.connect(), full.connect()
    for i in range(12):
        ask(guests, "POST", "/?id=V", f"viewer{i}")
    for i in range(150):
        ask(starts, "POST", "/?id=V", f"viewer{i}")
    for i, player in enumerate(players):
        ask(player, "POST", "/?id=V", f"viewer{i}")
    for second in range(60):
        strangers.request("OPTIONS", "/?id=V", headers={"Origin": "https://elsewhere.example"})
        strangers.getresponse().read()
        for method in ("DELETE", "POST"):
            ask(guests, method, "/?id=V", "viewer0")
        for i in range(10):
            ask(starts, "POST", f"/?id=W{i}", f"viewer{i}")
            ask(players[i], "PATCH", "/?id=V", f"viewer{i}")
            name = names[(second * 10 + i) % len(names)]
            ask(beats, "POST", f"/?id={second}", name)
            ask(beats, "DELETE", f"/?id={second}", name)
            ask(log, "GET", "/", "ann")
            ask(unreadable, "GET", "/", "mallory")
            for _ in range(20):
                ask(journal, "POST", f"/?id={'x' * 200}{i}", f"viewer{i}")
        if second == 8:
            resource.prlimit(kept.process.pid, resource.RLIMIT_FSIZE, (64, 64))
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
    silent, missing = list(unanswered(busy)), sorted(set(unseen((one, kept))))
    for panel, expression in silent:
        print(f"NO DATA {panel}: {expression}")
    for metric in missing:
        print(f"NO PANEL {metric}")
    print(f"{len(list(questions())) - len(silent)} of {len(list(questions()))} questions of the dashboard have data")
    return 0 if seen >= wanted and not silent and not missing else 1


try:
    code = main()
finally:
    for child in children:
        child.kill()
        child.wait()
    subprocess.run(["rm", "-rf", str(folder)], check=False)
sys.exit(code)
