#!/usr/bin/env python3
"""Kills the server under load, again and again, and looks whether anything that was answered is missing.

    cargo build --release && tests/kill.py [--kills 100] [--sync always] [--ext4] [--binary target/release/streamer]

Players start, pause, resume, move, replace and end streams on a server with a journal, and an operator holds users; each
user is driven by one thread, which so knows what the account must be. The server is killed with SIGKILL at a moment of
chance. After each restart every account is what was answered, but for positions of the last second, or that with the one
command that was not answered, and no count is above its limit. The last line is `N kills, N accounts looked at, N wrong`. Loopback only; every process that
it starts is ended by its id. It takes Python's standard library.

With `--ext4` the journal is on an ext4 of its own, and each kill is a power cut: the file system begins anew with what had
reached its device. That is a loop device, so it takes root.
"""

import argparse
import base64
import copy
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ADDRESS = re.compile(r"listens on http://([\d.]+:\d+) \(admin on http://([\d.]+:\d+)\)")
LIMIT, THREADS, USERS, SHARED = 3, 8, 40, 20


class Server:
    def __init__(self, binary, directory, sync):
        command = [binary, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off", "--lease", "10m",
                   "--workers", "2", "--store", f"dir:{directory}", "--sync", sync]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env={})
        self.said = ""
        while not (found := ADDRESS.search(self.said)):
            line = self.process.stderr.readline().decode()
            self.said += line
            if not line:
                sys.exit(f"the server did not start: {self.said}")
        self.listen, self.admin = found[1], found[2]
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Disk:
    """An ext4 on a loop device, mounted at `directory`."""

    def __init__(self, directory):
        self.directory, self.image = directory, f"{directory}.image"
        subprocess.run(f"truncate -s 64M {self.image} && mkfs.ext4 -q -F {self.image}", shell=True, check=True)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.directory], check=True)

    def unmount(self):
        subprocess.run(["umount", self.directory], check=True)

    def written(self):
        source = subprocess.run(["findmnt", "-no", "SOURCE", self.directory], capture_output=True, text=True).stdout
        with open(f"/sys/block/{source.strip().removeprefix('/dev/')}/stat") as file:
            words = file.read().split()
        return words[4], words[6], words[8]

    def cut(self, server):
        """Stops the server where it is, and goes on with what its device has at that moment."""
        pid = server.process.pid
        server.process.send_signal(signal.SIGSTOP)
        state = lambda task: open(f"/proc/{pid}/task/{task}/stat").read().rsplit(")", 1)[1].split()[0]
        while any(state(task) != "T" for task in os.listdir(f"/proc/{pid}/task")):
            time.sleep(0.002)
        before = None
        while before != self.written():
            before = self.written()
            shutil.copyfile(self.image, f"{self.image}.cut")
        server.kill()
        self.unmount()
        os.replace(f"{self.image}.cut", self.image)
        self.mount()

    def remove(self):
        self.unmount()
        os.unlink(self.image)


class Account:
    """What a user's account must be: streams, oldest first, each [id, state, seconds]; and whether it is held."""

    def __init__(self):
        self.streams, self.held = [], False

    def find(self, video):
        return next((stream for stream in self.streams if stream[0] == video), None)

    def playing(self):
        return [stream for stream in self.streams if stream[1] == "playing"]

    def apply(self, op, video, seconds):
        """Carries a command out by the rules of the contract; returns the status that it must be answered with."""
        stream = self.find(video)
        if op == "hold":
            self.streams, self.held = [], True
            return 200
        if op == "lift":
            self.held = False
            return 200
        if self.held and op != "end":
            return 403
        if op == "end":
            if not stream:
                return 404
            self.streams.remove(stream)
            return 200
        if op in ("start", "replace"):
            if not stream or stream[1] == "paused":
                if len(self.playing()) >= LIMIT:
                    if op == "start":
                        return 409
                    self.streams.remove(self.playing()[0])
            if stream:
                stream[1:] = ["playing", seconds]
                return 200
            self.streams.append([video, "playing", seconds])
            return 201
        if not stream:
            return 410
        if op == "move":
            stream[2] = seconds
        elif op == "pause":
            stream[1] = "paused"
        elif op == "resume" and stream[1] == "paused":
            if len(self.playing()) >= LIMIT:
                return 409
            stream[1] = "playing"
        return 200

    def key(self):
        return sorted(map(tuple, self.streams)), self.held


def request(connection, op, user, video, seconds):
    headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:x".encode()).decode()}
    body = {"start": {"time": seconds}, "replace": {"time": seconds}, "move": {"time": seconds},
            "pause": {"state": "paused"}, "resume": {"state": "playing"}}.get(op)
    method = {"start": "POST", "replace": "POST", "end": "DELETE", "hold": "DELETE", "lift": "DELETE"}.get(op, "PATCH")
    target = {"hold": f"/users/{user}?hold=1h", "lift": f"/users/{user}?hold=0s",
              "replace": f"/?id={video}&replace"}.get(op, f"/?id={video}")
    connection.request(method, target, body and json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read()


class Driver(threading.Thread):
    """Drives its users until the server is gone. The one whose command was not answered is `doubtful`."""

    def __init__(self, server, accounts, problems, seed):
        super().__init__(daemon=True)
        self.server, self.accounts, self.problems = server, accounts, problems
        self.random, self.doubtful, self.done = random.Random(seed), {}, 0

    def run(self):
        listen, admin = (http.client.HTTPConnection(address, timeout=10) for address in
                         (self.server.listen, self.server.admin))
        names, draw = list(self.accounts), self.random
        while True:
            user, video = draw.choice(names), f"v{draw.randrange(6)}"
            op = draw.choice(["start"] * 5 + ["replace"] * 2 + ["end"] * 3 + ["move"] * 4 + ["pause", "resume"] * 2 +
                             ["hold"] * (draw.random() < 0.1) + ["lift"] * 2)
            seconds = draw.randrange(5000)
            after = copy.deepcopy(self.accounts[user])
            expected = after.apply(op, video, seconds)
            self.doubtful = {user: after}
            try:
                status, body = request(admin if op in ("hold", "lift") else listen, op, user, video, seconds)
                self.accounts[user], self.doubtful = after, {}
                # Whoever else may use it, no count is ever above the limit.
                shared = f"shared{draw.randrange(SHARED)}"
                _, said = request(listen, draw.choice(["start", "end"]), shared, f"v{draw.randrange(40)}", 0)
            except (OSError, http.client.HTTPException):
                return
            self.done += 1
            # A stream that never was and one that was ended are two things only to the server.
            if status != expected and {status, expected} != {404, 410}:
                self.problems.append(f"{op} {user} {video}: {status}, not {expected}: {body.decode()}")
            if json.loads(said).get("count", 0) > LIMIT:
                self.problems.append(f"{shared}: {said.decode()}")


def seconds_of(text):
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total


def look(server, users):
    """What the server knows of the users."""
    connection, known = http.client.HTTPConnection(server.admin, timeout=10), {}
    for user in users:
        connection.request("GET", f"/users/{user}")
        account = json.loads(connection.getresponse().read())
        streams = [(s["id"], s["state"], seconds_of(s["time"])) for s in account["streams"]]
        known[user] = (sorted(streams), "heldFor" in account, account["count"])
    return known


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--sync", choices=["always", "second"])
    parser.add_argument("--ext4", action="store_true")
    parser.add_argument("--binary", default="target/release/streamer")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    chance, problems = random.Random(args.seed), []
    directory = tempfile.mkdtemp(prefix="streamer-kill-")
    disk = Disk(directory) if args.ext4 else None
    sync = args.sync or ("always" if disk else None)
    owned = [{f"user{n}": Account() for n in range(t * USERS, (t + 1) * USERS)} for t in range(THREADS)]
    looked = answered = 0
    server = Server(args.binary, f"{directory}/journal", sync or "always")
    try:
        # While a directory is empty, its server takes streams over that it does not know.
        request(http.client.HTTPConnection(server.listen, timeout=10), "start", "first", "v", 0)
        server.kill()
        server = Server(args.binary, f"{directory}/journal", sync or "always")
        for kill in range(args.kills):
            drivers = [Driver(server, accounts, problems, chance.random()) for accounts in owned]
            for driver in drivers:
                driver.start()
            time.sleep(chance.uniform(0.05, 0.6))
            disk.cut(server) if disk else server.kill()
            for driver in drivers:
                driver.join()
                answered += driver.done
            server = Server(args.binary, f"{directory}/journal", sync or ["always", "second"][kill % 2])
            known = look(server, [user for accounts in owned for user in accounts])
            for driver, accounts in zip(drivers, owned):
                for user, account in accounts.items():
                    looked += 1
                    *found, count = known[user]
                    # The positions of the last second may be forgotten.
                    kept = lambda key: (sorted(stream[:2] for stream in key[0]), key[1])
                    if kept(tuple(found)) == kept(account.key()):
                        pass
                    elif user in driver.doubtful and kept(tuple(found)) == kept(driver.doubtful[user].key()):
                        accounts[user] = driver.doubtful[user]
                    else:
                        problems.append(f"kill {kill}: {user} is {found}, not {account.key()}")
            if problems:
                break
            for user, (_, _, count) in look(server, [f"shared{n}" for n in range(SHARED)]).items():
                looked += 1
                if count > LIMIT:
                    problems.append(f"kill {kill}: {user} plays {count}")
    finally:
        server.kill()
        if disk:
            disk.remove()
        shutil.rmtree(directory)
        print("\n".join(problems[:20]))
        print(f"{answered} commands answered")
        print(f"{args.kills} kills, {looked} accounts looked at, {len(problems)} wrong")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
