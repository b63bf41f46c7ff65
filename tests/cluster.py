#!/usr/bin/env python3
"""A Cluster of six real servers under two instances of ours: what is acknowledged holds, whatever happens to the nodes.

    python3 tests/cluster.py --binary target/release/streamer [--server redis-server]

Loads both instances with starts, heartbeats and ends of many users, and meanwhile moves slots, fails over on command,
stops a master so that it says nothing, and kills one. Then it looks at every record through the other instance.

It fails when more streams of a user were acknowledged at once than the limit, when anything but 503 comes back for what
cannot be done, when what was acknowledged is gone after a clean fail-over, or when users of other shards are refused.
Std only; about a minute.
"""

import argparse, base64, http.client, json, random, selectors, shutil, signal, socket, sys, tempfile, threading, time

from engine import Instance, Redis, Stalls, free_port, start, wait

LIMIT = 3
USERS = [f"user{i}" for i in range(120)]


class Cluster:
    def __init__(self, server, dir):
        self.ports, self.processes, self.server, self.dir = sorted(free_port() for _ in range(6)), {}, server, dir
        for port in self.ports:
            self.start(port)
        first = self.ports[0]
        for port in self.ports[1:]:
            Redis(first)("CLUSTER", "MEET", "127.0.0.1", port)
        bounds = [0, 5461, 10923, 16384]
        for i, port in enumerate(self.ports[:3]):
            Redis(port)("CLUSTER", "ADDSLOTS", *range(bounds[i], bounds[i + 1]))
        wait(lambda: all(len(self.nodes(port)) == 6 for port in self.ports), "the nodes know each other")
        for i, port in enumerate(self.ports[3:]):
            wait(lambda: self.replicate(port, self.id(self.ports[i])), "a replica follows")
        wait(lambda: all(self.state(port) == "ok" for port in self.ports), "the Cluster is whole")
        wait(lambda: all("up" == self.link(port) for port in self.ports[3:]), "the replicas are in step")

    def start(self, port):
        self.processes[port] = start(
            self.server, port, self.dir, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
            "--cluster-require-full-coverage", "no", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")

    def replicate(self, port, master):
        try:
            return Redis(port)("CLUSTER", "REPLICATE", master) == "OK"
        except RuntimeError:
            return False

    def id(self, port):
        return Redis(port)("CLUSTER", "MYID").decode()

    def nodes(self, port):
        lines = Redis(port)("CLUSTER", "NODES").decode().splitlines()
        return [line.split() for line in lines if "handshake" not in line]

    def state(self, port):
        return Redis(port)("CLUSTER", "INFO").decode().split("cluster_state:")[1].split("\r\n")[0]

    def link(self, port):
        info = Redis(port)("INFO", "replication").decode()
        return info.split("master_link_status:")[1].split("\r\n")[0] if "master_link_status:" in info else "none"

    def alive(self):
        return [port for port in self.ports if self.processes[port].poll() is None]

    def masters(self):
        for port in self.alive():
            try:
                return {int(n[1].split("@")[0].split(":")[1]) for n in self.nodes(port)
                        if "master" in n[2] and "fail" not in n[2] and len(n) > 8}
            except OSError:
                continue

    def replica_of(self, port):
        me = self.id(port)
        for n in self.nodes(port):
            if n[3] == me and "fail" not in n[2]:
                return int(n[1].split("@")[0].split(":")[1])

    def reshard(self, source, target, slots):
        """Moves slots with their keys, one by one, as redis-cli does."""
        a, b, ida, idb = Redis(source), Redis(target), self.id(source), self.id(target)
        for slot in slots:
            b("CLUSTER", "SETSLOT", slot, "IMPORTING", ida)
            a("CLUSTER", "SETSLOT", slot, "MIGRATING", idb)
            while keys := a("CLUSTER", "GETKEYSINSLOT", slot, 100):
                a("MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", *keys)
            b("CLUSTER", "SETSLOT", slot, "NODE", idb)
            a("CLUSTER", "SETSLOT", slot, "NODE", idb)
            for port in self.masters() - {source, target}:
                Redis(port)("CLUSTER", "SETSLOT", slot, "NODE", idb)

    def users_of(self, port):
        """The users whose records this master holds."""
        node = Redis(port)
        slots = {s for r in node("CLUSTER", "SLOTS") if r[2][1] == port for s in range(r[0], r[1] + 1)}
        return {user for user in USERS if node("CLUSTER", "KEYSLOT", f"t:{user}") in slots}

    def slots_with_keys(self, port, most):
        node = Redis(port)
        owned = [r for r in node("CLUSTER", "SLOTS") if r[2][1] == port]
        slots = [s for r in owned for s in range(r[0], r[1] + 1)]
        return [s for s in slots if node("CLUSTER", "COUNTKEYSINSLOT", s)][:most]

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


class Load(threading.Thread):
    """One user's player after the other: each user belongs to one thread, so that it knows what was acknowledged."""

    def __init__(self, instances, users):
        super().__init__(daemon=True)
        self.instances, self.users = instances, users
        self.stopped, self.failure = threading.Event(), None
        # What is known to play: by user, video -> True, or None when a change was answered 503 and may have been made.
        self.playing = {user: {} for user in users}
        self.random = random.Random(users[0])
        self.connections = {}
        # (when, status, how long, user)
        self.calls = []

    def call(self, method, user, target, instance=None):
        """The status and the body; every call goes to another instance than the one before, perhaps."""
        instance = instance or self.random.choice(self.instances)
        credentials = base64.b64encode(f"{user}:x".encode()).decode()
        connection = self.connections.get(instance.port)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=10)
            self.connections[instance.port] = connection
        started = time.monotonic()
        connection.request(method, target, headers={"Authorization": f"Basic {credentials}"})
        response = connection.getresponse()
        body = response.read()
        self.calls.append((started, response.status, time.monotonic() - started, user))
        return response.status, json.loads(body) if body else {}

    def run(self):
        try:
            while not self.stopped.is_set():
                self.step(self.random.choice(self.users))
        except Exception as error:  # the main thread shows it
            self.failure = self.failure or repr(error)

    def step(self, user):
        known = self.playing[user]
        video = f"v{self.random.randrange(5)}"
        method = self.random.choice(["POST", "POST", "PATCH", "PATCH", "DELETE", "GET"])
        status, body = self.call(method, user, f"/?id={video}")
        if status == 503:
            if method in ("POST", "DELETE"):
                known[video] = None
            return
        sure = sum(1 for state in known.values() if state)
        maybe = sum(1 for state in known.values() if state is None)
        allowed = {"POST": (200, 201, 409), "PATCH": (200, 404, 410), "DELETE": (200, 404), "GET": (200,)}[method]
        assert status in allowed, (method, user, video, status, body)
        if method == "POST" and status in (200, 201):
            known[video] = True
            sure = sum(1 for state in known.values() if state)
            assert sure <= LIMIT, f"{user} was let in {sure} times: {known}"
            assert body["count"] <= LIMIT, body
        elif method == "POST":
            assert sure + maybe >= LIMIT, f"{user} was refused: {known} {body}"
        elif method == "PATCH":
            if status == 200:
                assert known.get(video, False) is not False, f"{user} beats {video}: {known}"
                known[video] = True
            else:
                assert self.lossy or known.get(video, False) is not True, f"{user} lost {video}: {status} {known}"
                known.pop(video, None)
        elif method == "DELETE":
            assert status == 200 or self.lossy or known.get(video) is not True, f"{user} lost {video}: {known}"
            known.pop(video, None)

    # After a crash of a master what its replica had not received yet may be gone.
    lossy = False

    def learn(self):
        """Takes what is there as what is known."""
        for user in self.users:
            for _ in range(20):
                status, body = self.call("GET", user, "/")
                if status == 200:
                    break
                time.sleep(0.1)
            assert status == 200, status
            assert body["count"] <= LIMIT, body
            there = {stream["id"] for stream in body["streams"]}
            yield user, there


class Salvo:
    """Many connections whose requests come all at once, so that the server has users of all shards in each turn. Those of
    the shard that hangs are left alone until they are answered; the others go on."""

    def __init__(self, instance, users, hung_users):
        self.selector, self.connections = selectors.DefaultSelector(), []
        for user in users + hung_users:
            connection = socket.create_connection(("127.0.0.1", instance.port))
            credentials = base64.b64encode(f"{user}:x".encode()).decode()
            request = f"GET /?id=v HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n".encode()
            one = {"socket": connection, "request": request, "hung": user in hung_users, "sent": None}
            self.connections.append(one)
            self.selector.register(connection, selectors.EVENT_READ, one)

    def fire(self, seconds):
        """How long each request on the other shards took, in order, and the statuses."""
        took, statuses, until = [], set(), time.monotonic() + seconds
        while time.monotonic() < until:
            if all(one["hung"] or one["sent"] is None for one in self.connections):
                for one in self.connections:
                    if one["sent"] is None:
                        one["sent"] = time.monotonic()
                        one["socket"].sendall(one["request"])
            for key, _ in self.selector.select(0.01):
                # A response is small, and comes in one piece.
                response, one = key.data["socket"].recv(65536), key.data
                assert response.startswith(b"HTTP/1.1 ") and response.endswith(b"}"), response
                if not one["hung"]:
                    took.append(time.monotonic() - one["sent"])
                    statuses.add(int(response[9:12]))
                one["sent"] = None
        return sorted(took), statuses


class Test:
    def __init__(self, arguments):
        self.dir = tempfile.mkdtemp(prefix="streamer-cluster-")
        self.cluster, self.instances, self.loads = None, [], []
        self.arguments, self.table, self.stalls = arguments, [], Stalls()

    def run(self):
        self.cluster = Cluster(self.arguments.server, self.dir)
        seeds = ",".join(f"127.0.0.1:{port}" for port in self.cluster.ports[:2])
        url = f"redis://{seeds}?prefix=t:"
        self.instances = [Instance(self.arguments.binary, url, self.dir) for _ in range(2)]
        self.loads = [Load(self.instances, USERS[i::6]) for i in range(6)]
        for load in self.loads:
            load.start()
        self.phase("calm", 3, lambda: None, clean=True)
        self.phase("reshard", 0, self.reshard, clean=True)
        self.phase("CLUSTER FAILOVER", 2, self.fail_over, clean=True)
        self.phase("a master says nothing (SIGSTOP)", 0, self.hang, clean=False)
        self.phase("kill -9 of a master", 0, self.kill, clean=False)
        for load in self.loads:
            load.stopped.set()
        for load in self.loads:
            load.join()
        self.check_loads()
        print(f"{'what':34} {'requests':>9} {'503':>6} {'longest outage':>15} {'of it ours':>11} {'longest call':>13} {'lost':>5}")
        for row in self.table:
            print("{:34} {:9} {:6} {:12.2f} s {:9.2f} s {:10.0f} ms {:5}".format(*row))

    def check_loads(self):
        for load in self.loads:
            assert not load.failure, load.failure

    def phase(self, name, seconds, work, clean):
        """Runs `work` under load; when it is over, what was acknowledged has to be there, unless a crash may lose some.

        `work` says who alone may be refused, if it can.
        """
        for load in self.loads:
            load.lossy = not clean
        started = self.taken_over = time.monotonic()
        concerned = work()
        time.sleep(seconds)
        self.check_loads()
        # Stop for a moment, and compare what was acknowledged with what is there.
        for load in self.loads:
            load.stopped.set()
        for load in self.loads:
            load.join()
        self.check_loads()
        lost = 0
        for load in self.loads:
            for user, there in load.learn():
                known = load.playing[user]
                gone = [v for v, state in known.items() if state and v not in there]
                new = [v for v in there if v not in known]
                assert not clean or (not gone and not new), f"{name}: {user} has {there}, known {known}"
                lost += len(gone)
                load.playing[user] = {video: True for video in there}
        calls = [call for load in self.loads for call in load.calls if call[0] >= started]
        statuses = {status for _, status, _, _ in calls}
        assert statuses <= {200, 201, 404, 409, 410, 503}, statuses
        refused = [user for _, status, _, user in calls if status == 503]
        blamed = [user for at, status, took, user in calls if status == 503 and not self.stalls.excuse(at, at + took)]
        outages = list(self.outages(calls))
        outage = max((until - since for since, until in outages), default=0)
        # What is left of it when the nodes say that another is the master.
        ours = max((until - max(since, self.taken_over) for since, until in outages), default=0)
        assert not (name == "calm" and blamed), f"{len(blamed)} were refused while nothing happened"
        if concerned is not None:
            others = [user for user in blamed if user not in concerned]
            assert not others, f"{name}: {len(others)} requests of {len(set(others))} users of other masters were refused"
        self.table.append((name, len(calls), len(refused), outage, max(ours, 0), 1000 * max(took for _, _, took, _ in calls), lost))
        fresh = []
        for load in self.loads:
            new = Load(load.instances, load.users)
            new.playing = load.playing
            fresh.append(new)
            new.start()
        self.loads = fresh

    def outages(self, calls):
        """For each user that was refused, when its first 503 came and when its next answer."""
        since = {}
        for at, status, took, user in sorted(calls):
            if status == 503:
                since.setdefault(user, at)
            elif user in since:
                yield since.pop(user), at + took

    def reshard(self):
        masters = sorted(self.cluster.masters())
        source, target = masters[0], masters[1]
        self.cluster.reshard(source, target, self.cluster.slots_with_keys(source, 25))

    def fail_over(self):
        master = sorted(self.cluster.masters())[0]
        wait(lambda: self.cluster.replica_of(master), "it has a replica")
        replica = self.cluster.replica_of(master)
        Redis(replica)("CLUSTER", "FAILOVER")
        wait(lambda: replica in self.cluster.masters(), "the replica has taken over")
        self.taken_over = time.monotonic()

    def hang(self):
        master = sorted(self.cluster.masters())[-1]
        concerned = self.cluster.users_of(master)
        elsewhere = [user for user in USERS if user not in concerned]
        salvo = Salvo(self.instances[0], elsewhere[:40], sorted(concerned)[:20])
        calm, _ = salvo.fire(1)
        self.cluster.processes[master].send_signal(signal.SIGSTOP)
        try:
            # From the first moment: not only when the instance has found out.
            began = time.monotonic()
            took, statuses = salvo.fire(0.3)
            excused = self.stalls.excuse(began, time.monotonic())
            p99 = lambda took: 1000 * took[len(took) * 99 // 100]
            print(f"p99 of the other shards before a master hangs {p99(calm):.1f} ms, in the first 0.3 s {p99(took):.1f} ms, "
                  f"the longest {1000 * took[-1]:.1f} ms")
            assert statuses == {200} or excused, f"users of other shards got {statuses}"
            # Who waits for the one that hangs makes one or two rounds. One round may be the machine's own fault.
            assert took[len(took) * 95 // 100] < 0.1 or excused, "users of other shards waited for the one that hangs"
            took, began = [], time.monotonic()
            while time.monotonic() < began + 1.5:
                took += [instance.health() for instance in self.instances]
                time.sleep(0.05)
            assert sorted(took)[len(took) * 8 // 10] < 0.2, f"health took {took} s while a node hung"
            others = lambda: self.other_masters(master)
            wait(lambda: len(others()) >= 3, "another has taken over")
            self.taken_over = time.monotonic()
            self.wait_until_served()
        finally:
            self.cluster.processes[master].send_signal(signal.SIGCONT)
        time.sleep(1)
        return concerned

    def other_masters(self, hung):
        port = next(port for port in self.cluster.alive() if port != hung)
        return {int(n[1].split("@")[0].split(":")[1]) for n in self.cluster.nodes(port)
                if "master" in n[2] and "fail" not in n[2] and len(n) > 8} - {hung}

    def kill(self):
        wait(lambda: all(self.cluster.state(p) == "ok" for p in self.cluster.ports), "all is whole")
        wait(lambda: len(self.cluster.masters()) >= 3, "there are three masters")
        with_replica = lambda: sorted(m for m in self.cluster.masters() if self.cluster.replica_of(m))
        wait(with_replica, "a master has a replica")
        victim = with_replica()[0]
        concerned = self.cluster.users_of(victim)
        self.cluster.processes[victim].kill()
        self.cluster.processes[victim].wait()
        wait(lambda: len(self.other_masters(victim)) >= 3, "another has taken over")
        self.taken_over = time.monotonic()
        self.wait_until_served()
        return concerned

    def wait_until_served(self):
        probe = Load(self.instances, USERS)
        started = time.monotonic()
        while True:
            statuses = {probe.call("GET", user, "/")[0] for user in probe.users}
            if statuses == {200}:
                return
            assert time.monotonic() < started + 10, f"still refused after the fail-over: {statuses}"
            time.sleep(0.1)

    def stop(self):
        for instance in self.instances:
            instance.stop()
        if self.cluster:
            self.cluster.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/streamer")
    parser.add_argument("--server", default="redis-server")
    test = Test(parser.parse_args())
    try:
        test.run()
    except BaseException:
        for instance in test.instances:
            sys.stderr.write(open(instance.log.name).read())
            sys.stderr.write("".join(line + "\n" for line in instance.metrics().splitlines() if line.startswith("streamer_store"))
                             if instance.process.poll() is None else "an instance has ended\n")
        raise
    finally:
        test.stop()


if __name__ == "__main__":
    main()
