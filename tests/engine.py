"""What the scripts here have in common: ports, waiting, an engine of their own, a connection to it, and an instance over it."""

import http.client, os, random, socket, subprocess, threading, time

given = set()
# A child has a copy of each socket until it is another program: no port is tried while one is being made.
spawning = threading.Lock()


def spawn(command, **more):
    with spawning:
        return subprocess.Popen(command, **more)


def free_port():
    """A port that nobody has, nor gets from the system for a connection of its own before it is used: those are above 32,767.
    The Cluster's bus, 10,000 above, is free too."""
    while True:
        port = random.SystemRandom().randrange(11_000, 21_000)
        with spawning, socket.socket() as one, socket.socket() as bus:
            try:
                one.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        if port not in given:
            given.add(port)
            return port


class Stalls(threading.Thread):
    """When the machine stood still, this thread did too: who was refused then was refused for that."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen = []
        self.start()

    def run(self):
        last = time.monotonic()
        while True:
            time.sleep(0.01)
            now = time.monotonic()
            if now - last > 0.1:
                self.seen.append((last, now))
            last = now

    def excuse(self, since, until):
        """Whether it stood still between these moments, or shortly before."""
        return any(began < until and ended > since - 0.5 for began, ended in self.seen)


def wait(holds, what, most=30):
    until = time.monotonic() + most
    while True:
        try:
            if holds():
                return
        except (OSError, RuntimeError, ValueError, http.client.HTTPException):
            pass
        assert time.monotonic() < until, f"still waiting until {what}"
        time.sleep(0.05)


def start(server, port, dir, *flags, sentinel=False):
    """A Redis or Valkey that answers on this port."""
    folder = os.path.join(dir, str(port))
    os.makedirs(folder, exist_ok=True)
    head = [server, os.path.join(folder, "sentinel.conf"), "--sentinel"] if sentinel else [server, "--save", "", "--appendonly", "no"]
    log = os.path.join(folder, "log")
    process = spawn(
        [*head, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--protected-mode", "no", *flags],
        stdout=open(log, "wb"), stderr=subprocess.STDOUT)

    def answers():
        assert process.poll() is None, f"{server} has ended: {open(log).read()}"
        return Redis(port)("PING") == "PONG"

    wait(answers, "a server answers")
    return process


class Redis:
    """A connection that speaks RESP2."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        out = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
        self.socket.sendall(out)
        return self.read()

    def read(self):
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        return None if rest == b"-1" else [self.read() for _ in range(int(rest))]


class Instance:
    """The program over an engine, on ports of the system's choice."""

    def __init__(self, binary, url, dir, *flags, lease="10m"):
        self.log = open(os.path.join(dir, f"instance-{id(self)}"), "w+")
        self.process = spawn(
            [binary, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off", "--workers", "2",
             "--lease", lease, "--store", url, *flags], stderr=self.log, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while "listens on" not in (text := open(self.log.name).read()):
            assert time.monotonic() < until and self.process.poll() is None, text
            time.sleep(0.02)
        port = lambda label: int(text.split(label)[1].split(":")[1].split()[0].rstrip(")"))
        self.port, self.admin = port("listens on http://"), port("admin on http://")

    def health(self):
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        return time.monotonic() - started

    def metrics(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
