#!/usr/bin/env python3
"""The overload cases against the release binary, with their figures.

    cargo build --release && tests/overload.py [--quick] [--binary target/release/streamer]

A good client asks five hundred times a second, on a connection kept and on new ones in turn, while bad ones do their
worst. Each row says what the good client saw meanwhile; the last line is `N passed, N failed`. Loopback only; every
process that it starts is ended by its id. It takes Python's standard library, and slowhttptest for the last three rows,
which are skipped where that is absent.
"""

import argparse
import multiprocessing
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

AUTHORIZATION = b"Authorization: Basic YWxpY2U6eA=="  # alice:x
GOOD = b"GET /?id=V HTTP/1.1\r\nHost: h\r\n" + AUTHORIZATION + b"\r\n\r\n"
GOOD_ONCE = GOOD[:-2] + b"Connection: close\r\n\r\n"
ADDRESS = re.compile(r"listens on http://([\d.]+):(\d+) \(admin on http://([\d.]+):(\d+)\)")


class Server:
    """The program, on ports of the system's choice."""

    def __init__(self, binary, *flags):
        command = [binary, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off", *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env={})
        while True:
            line = self.process.stderr.readline().decode()
            if not line:
                sys.exit("the server did not start")
            if found := ADDRESS.search(line):
                break
            print(line, end="", file=sys.stderr)
        self.address = (found[1], int(found[2]))
        self.admin = (found[3], int(found[4]))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, sample):
        with socket.create_connection(self.admin, 10) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        return float(re.search(rf"^{re.escape(sample)} (\S+)$", text, re.M)[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Good(threading.Thread):
    """A good client. Every fifth of its requests is on a connection of its own, as those of curl in a loop are."""

    PACE = 0.002

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.kept, self.buffer = address, None, b""
        self.millis, self.failures, self.stopping = [], [], False

    def run(self):
        n = 0
        while not self.stopping:
            began = time.perf_counter()
            try:
                self.once() if n % 5 == 0 else self.again()
                self.millis.append((time.perf_counter() - began) * 1000)
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
                self.kept = None
            n += 1
            time.sleep(max(0, began + self.PACE - time.perf_counter()))

    def once(self):
        with socket.create_connection(self.address, 10) as connection:
            connection.sendall(GOOD_ONCE)
            check(b"".join(iter(lambda: connection.recv(4096), b"")))

    def again(self):
        # Python's own sockets are asked as little as possible: what is measured is the server.
        if self.kept is None:
            self.kept = socket.create_connection(self.address, 10)
        self.kept.sendall(GOOD)
        check(self.kept.recv(4096))

    def stop(self):
        self.stopping = True
        self.join()
        return self


def check(answer):
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"}"), answer[:200]


class Crowd(multiprocessing.Process):
    """Many connections that do nothing at all (`IDLE`), send a byte a second of a head that never ends (`DRIPS`), or ask
    without end and never read an answer (`ASKS`).

    A process, because threads of Python wait for each other.
    """

    IDLE, DRIPS, ASKS = b"", b"a", GOOD * 100

    def __init__(self, address, count, sends):
        super().__init__(daemon=True)
        self.address, self.count, self.sends, self.open = address, count, sends, {}
        self.all_open, self.stopping = multiprocessing.Event(), multiprocessing.Event()

    def run(self):
        poll = select.epoll()
        while len(self.open) < self.count and not self.stopping.is_set():
            self.connect(poll)
            if len(self.open) % 100 == 0:
                # At the pace of a fast network, not of loopback.
                time.sleep(0.01)
        self.all_open.set()
        while not self.stopping.is_set():
            began = time.monotonic()
            self.reap(poll)
            if self.sends:
                self.send()
            self.stopping.wait(max(0.01, 1 - (time.monotonic() - began)))

    def connect(self, poll):
        connect = connect_deaf if self.sends == Crowd.ASKS else socket.create_connection
        connection = connect(self.address)
        connection.setblocking(False)
        if self.sends == Crowd.DRIPS:
            connection.send(b"GET / HTTP/1.1\r\nA: ")
        self.open[connection.fileno()] = connection
        answered = 0 if self.sends == Crowd.ASKS else select.EPOLLIN
        poll.register(connection, answered | select.EPOLLRDHUP)

    def reap(self, poll):
        """Whom the server has given up connects again."""
        for fd, _ in poll.poll(0, len(self.open) + 1):
            self.open.pop(fd).close()
        while self.sends and len(self.open) < self.count and not self.stopping.is_set():
            self.connect(poll)

    def send(self):
        for i, connection in enumerate(list(self.open.values())):
            try:
                # As many bytes as are taken: one, or all that there is room for.
                while connection.send(self.sends) > 1:
                    pass
            except OSError:
                pass
            if i % 500 == 0:
                time.sleep(0.02)

    def stop(self):
        self.stopping.set()
        self.join(10)
        self.terminate()


def quantile(sorted_millis, part):
    return sorted_millis[min(len(sorted_millis) - 1, int(len(sorted_millis) * part))]


class Report:
    def __init__(self):
        self.passed = self.failed = 0
        print(f"{'case':<46} {'requests':>8} {'failed':>6} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7}  remarks")

    def row(self, name, good, most_p99, remarks="", ok=True):
        millis = sorted(good.millis) or [float("inf")]
        p50, p99 = quantile(millis, 0.5), quantile(millis, 0.99)
        ok = ok and not good.failures and len(good.millis) > 20 and p99 <= most_p99
        self.count(ok)
        mark = "" if ok else f"  FAILED (p99 at most {most_p99:.1f}) {good.failures[:2]}"
        counts = f"{len(millis):>8} {len(good.failures):>6}"
        print(f"{name:<46} {counts} {p50:>7.2f} {p99:>7.2f} {millis[-1]:>7.1f}  {remarks}{mark}", flush=True)
        return p99

    def fact(self, name, ok, remarks):
        self.count(ok)
        print(f"{name:<46} {remarks}{'' if ok else '  FAILED'}", flush=True)

    def count(self, ok):
        self.passed, self.failed = self.passed + ok, self.failed + (not ok)


def watch(server, seconds):
    good = Good(server.address)
    good.start()
    time.sleep(seconds)
    return good.stop()


def crowds(report, binary, count, seconds):
    server = Server(binary, "--max-connections", str(count + 100))
    try:
        prime(server)
        watch(server, 1)
        usual = report.row("alone", watch(server, seconds), 50)
        # As usual, with what the crowd itself takes of the cores.
        most = max(10 * usual, 50)
        before = server.resident()
        for what, sends in (("idle", Crowd.IDLE), ("dripping a byte a second", Crowd.DRIPS)):
            crowd = Crowd(server.address, count, sends)
            good = Good(server.address)
            good.start()
            crowd.start()
            crowd.all_open.wait(60)
            report.row(f"while {count:,} connect, to be {what}", good.stop(), most)
            cpu = server.cpu()
            good = watch(server, seconds)
            cpu = (server.cpu() - cpu) / seconds
            there = int(server.metric("streamer_connections_open"))
            remarks = f"{there:,} open, {cpu:.0%} of a core"
            report.row(f"{count:,} {what}", good, most, remarks, there >= count * 0.95)
            if sends == Crowd.IDLE:
                each = (server.resident() - before) / count
                # Half a megabyte is what the process may take once, whatever their number; a buffer each would be 16 KiB.
                report.fact("resident memory of an idle connection", each <= 600 + 2**19 / count, f"{each:.0f} bytes")
            crowd.stop()
            time.sleep(0.5)
        time.sleep(1)
        report.row("alone again", watch(server, seconds), most)
        left = (server.resident() - before) / 1e6
        report.fact("memory that stays behind", left < 32, f"{left:.1f} MB")
        report.fact("panics", server.metric("streamer_panics_total") == 0, "none")
    finally:
        code = server.stop()
    report.fact("exit", code == 0, f"code {code}")


def full_house(report, binary, seconds):
    """Twice as many as there may be: the idle make room, so that the good client always gets in."""
    server = Server(binary, "--max-connections", "500")
    crowd = Crowd(server.address, 1000, Crowd.IDLE)
    try:
        prime(server)
        crowd.start()
        crowd.all_open.wait(60)
        good = watch(server, seconds)
        reclaimed = server.metric("streamer_connections_reclaimed_total")
        report.row("500 idle, and room for 500", good, 50, f"{reclaimed:.0f} gave way", reclaimed >= 500)
    finally:
        crowd.stop()
        server.stop()


def unread(report, binary, seconds):
    """As many as have the server busy at first, until nothing more fits into their sockets; given up after ten seconds."""
    server = Server(binary)
    crowd = Crowd(server.address, 100, Crowd.ASKS)
    try:
        prime(server)
        before = server.resident()
        crowd.start()
        good = watch(server, 2)
        # They are served until then, as anybody is: the good client has its share.
        report.row("100 begin to ask and never read", good, 500)
        good = watch(server, seconds)
        grown = (server.resident() - before) / 1e6
        given_up = server.metric('streamer_timeouts_total{kind="write"}')
        remarks = f"{grown:.1f} MB more memory, {given_up:.0f} given up"
        report.row("100 have asked and never read", good, 50, remarks, grown < 32)
    finally:
        crowd.stop()
        server.stop()


def connect_deaf(address):
    """With small segments and a small window the system keeps little for who does not read: on any machine it is stuck soon."""
    connection = socket.socket()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(address)
    return connection


def stop_beside_deaf(report, binary, count):
    """Who never reads holds a stop up for the grace, and no longer."""
    server = Server(binary, "--grace", "2s")
    deaf = []
    for _ in range(count):
        connection = connect_deaf(server.address)
        connection.setblocking(False)
        connection.send(Crowd.ASKS * 10)
        deaf.append(connection)
    time.sleep(2)
    there = int(server.metric("streamer_connections_open"))
    began = time.monotonic()
    code = server.stop()
    took = time.monotonic() - began
    remarks = f"{took:.1f} s with {there} open and a grace of 2 s, code {code}"
    report.fact(f"SIGTERM beside {count} that never read", code == 0 and took < 5 and there >= count, remarks)


SLOW = [("heads", ["-H", "-i", "1", "-x", "20"]), ("bodies", ["-B", "-i", "1", "-s", "8000", "-x", "20"]),
        ("reads", ["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "5"])]


def slow(report, binary, count, seconds):
    tool = shutil.which("slowhttptest")
    if tool is None:
        print("slowhttptest is absent: its three rows are skipped")
        return
    for what, flags in SLOW:
        server = Server(binary)
        url = "http://{}:{}/?id=V".format(*server.address)
        command = [tool, *flags, "-c", str(count), "-r", str(count // 4), "-l", str(seconds), "-p", "5", "-u", url]
        if what == "bodies":
            command += ["-t", "POST"]
        try:
            prime(server)
            attack = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            guard = threading.Timer(seconds + 10, attack.kill)
            guard.start()
            output = []
            reader = threading.Thread(target=lambda: output.append(attack.stdout.read().decode(errors="replace")))
            reader.start()
            good = Good(server.address)
            good.start()
            attack.wait()
            guard.cancel()
            reader.join()
            good.stop()
            plain = re.sub(r"\x1b\[[\d;]*m", "", output[0])
            available = plain.count("YES"), plain.count("NO")
            connected = max(map(int, re.findall(r"^\s*connected:\s*(\d+)", plain, re.M)), default=0)
            remarks = f"service available: {available[0]} times yes, {available[1]} no; {connected} connected at most"
            report.row(f"slowhttptest, {count:,} slow {what}", good, 50, remarks, available[0] > 0 and available[1] == 0)
        finally:
            server.stop()


def prime(server):
    """V plays, for `GET` to tell of."""
    with socket.create_connection(server.address, 10) as connection:
        connection.sendall(GOOD_ONCE.replace(b"GET", b"POST"))
        assert connection.recv(4096).startswith(b"HTTP/1.1 201 ")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer connections, under a minute in all")
    parser.add_argument("--binary", default=os.path.join(os.path.dirname(__file__), "../target/release/streamer"))
    args = parser.parse_args()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    count = min(1_000 if args.quick else 10_000, files - 300)
    report = Report()
    crowds(report, args.binary, count, 2 if args.quick else 8)
    full_house(report, args.binary, 2 if args.quick else 4)
    unread(report, args.binary, 2 if args.quick else 12)
    stop_beside_deaf(report, args.binary, min(500, files - 300))
    slow(report, args.binary, min(500 if args.quick else 3_000, files - 300), 5 if args.quick else 15)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
