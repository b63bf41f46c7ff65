#!/usr/bin/env python3
"""Freezes the volume under a journal for 14 s, as a snapshot of a virtual machine does, and looks who notices.

    cargo build --release && tests/frozen.py [--binary target/release/streamer]

Questions, heartbeats and health go on as ever; changes are answered 503 when they have waited for 10 s; `/readyz` says so; and
when the volume thaws all goes on by itself. Root, for a loop device; loopback only. The last line is `N passed, M failed`.
"""

import argparse
import concurrent.futures
import http.client
import shutil
import subprocess
import sys
import tempfile
import time

from kill import Disk, Server, request

results = []


def check(claim, holds, shown):
    results.append(bool(holds))
    print(f"{'ok  ' if holds else 'FAIL'} {claim}: {shown}", flush=True)


def timed(work, *args):
    begun = time.monotonic()
    try:
        return work(*args), time.monotonic() - begun
    except OSError as error:
        return error, time.monotonic() - begun


def get(address, target):
    connection = http.client.HTTPConnection(address, timeout=15)
    connection.request("GET", target)
    response = connection.getresponse()
    return response.status, response.read().decode()


def one(address, *call):
    return request(http.client.HTTPConnection(address, timeout=15), *call)[0]


def frozen(server, directory):
    for user in range(20):
        one(server.listen, "start", f"user{user}", "v", 0)
    time.sleep(1.5)
    pool = concurrent.futures.ThreadPoolExecutor(40)
    subprocess.run(["fsfreeze", "-f", directory], check=True)
    begun = time.monotonic()
    try:
        changes = [pool.submit(timed, one, server.listen, "start", f"new{n}", "v", 0) for n in range(10)]
        slowest = {"a question": 0, "a heartbeat": 0, "/healthz": 0, "/metrics": 0}
        statuses = {name: set() for name in slowest}
        readiness = []
        while time.monotonic() - begun < 14:
            for name, work in [("a question", lambda: get(server.admin, "/users/user1")[0]),
                               ("a heartbeat", lambda: one(server.listen, "move", "user2", "v", 1)),
                               ("/healthz", lambda: get(server.listen, "/healthz")[0]),
                               ("/metrics", lambda: get(server.admin, "/metrics")[0])]:
                status, took = timed(work)
                slowest[name] = max(slowest[name], took)
                statuses[name].add(status)
            readiness.append((time.monotonic() - begun, get(server.admin, "/readyz")))
            time.sleep(0.1)
        for name in slowest:
            check(f"{name} is answered as ever", statuses[name] == {200} and slowest[name] < 0.5, (statuses[name], slowest[name]))
        done = [change.result() for change in changes]
        check("changes are a 503 after 10 s", all(status == 503 and 9 < took < 12 for status, took in done), done[:3])
        unready = [answer for at, answer in readiness if at > 11.5]
        check("/readyz says why", all(status == 503 for status, _ in unready), unready[-1])
    finally:
        subprocess.run(["fsfreeze", "-u", directory], check=True)
    for _ in range(100):
        if get(server.admin, "/readyz")[0] == 200:
            break
        time.sleep(0.1)
    check("it goes on by itself", get(server.admin, "/readyz")[0] == 200, get(server.admin, "/readyz"))
    check("and takes changes", one(server.listen, "start", "later", "v", 0) == 201, "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default="target/release/streamer")
    args = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="streamer-frozen-")
    disk, server = Disk(directory), None
    try:
        # While a directory is empty, its server takes streams over that it does not know.
        server = Server(args.binary, f"{directory}/journal", "always")
        one(server.listen, "start", "first", "v", 0)
        server.kill()
        server = Server(args.binary, f"{directory}/journal", "always")
        frozen(server, directory)
    finally:
        server.kill()
        disk.remove()
        shutil.rmtree(directory)
        print(f"{results.count(True)} passed, {results.count(False)} failed")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
