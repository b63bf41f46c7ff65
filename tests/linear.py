#!/usr/bin/env python3
"""Is the shared count linearizable? Histories of overlapping calls through two instances, held against a model of the contract.

    python3 tests/linear.py --binary target/release/streamer [--server redis-server]

Each user's history is searched for an order of its calls that the model could have answered so, and in which no call takes effect
before it was sent or after it was answered (Wing and Gong, 1993; Lowe's cache of states). A call that was answered 503 took effect
at any time, or never. Once in quiet, and once through a proxy that cuts a connection now and then, in the middle of an answer or
before it. Then three Sentinels: the master is killed, comes back, and no instance takes it for the master. Std only; a minute.
"""

import argparse, base64, http.client, json, os, random, select, signal, socket, tempfile, threading, time

from engine import Instance, Redis, free_port, start, wait

LIMIT, INF = 3, float("inf")
VIDEOS = [f"v{i}" for i in range(6)]


class Proxy:
    """Passes bytes on between instances and the engine; with `cut` it ends a connection at one answer in so many."""

    def __init__(self, port):
        self.engine, self.cut, self.listener = port, 0, socket.create_server(("127.0.0.1", 0))
        self.port, self.random = self.listener.getsockname()[1], random.Random(1)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(near,), daemon=True).start()

    def serve(self, near):
        with near, socket.create_connection(("127.0.0.1", self.engine)) as far:
            while True:
                for source in select.select([near, far], [], [])[0]:
                    try:
                        data = source.recv(65536)
                        if source is far and self.cut and self.random.randrange(self.cut) == 0:
                            near.sendall(data[:self.random.randrange(len(data) + 1)])
                            return
                        (far if source is near else near).sendall(data)
                    except OSError:
                        return
                    if not data:
                        return


class Call:
    """One call: what was asked, when, and what was answered."""

    def __init__(self, random):
        self.video, self.replace = random.choice(VIDEOS), None
        self.kind = random.choice(["POST", "POST", "POST", "REPLACE", "OLDEST", "DELETE", "DELETE", "BEAT", "PAUSE", "RESUME", "LIST"])
        target = "/" if self.kind == "LIST" else f"/?id={self.video}"
        if self.kind == "REPLACE":
            self.replace = random.choice(VIDEOS)
            target += f"&replace={self.replace}"
        elif self.kind == "OLDEST":
            target += "&replace"
        body = {"PAUSE": '{"state":"paused"}', "RESUME": '{"state":"playing"}'}.get(self.kind)
        method = {"LIST": "GET", "DELETE": "DELETE", "BEAT": "PATCH", "PAUSE": "PATCH", "RESUME": "PATCH"}.get(self.kind, "POST")
        self.request = method, target, body

    def send(self, port, user, connections):
        self.sent, method = time.perf_counter(), self.request[0]
        try:
            connection = connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=10))
            credentials = base64.b64encode(f"{user}:x".encode()).decode()
            connection.request(*self.request, {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"})
            response = connection.getresponse()
            self.status, self.body = response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            connections.pop(port).close()
            self.status, self.body = 503, {}
        self.done = time.perf_counter()

    def __repr__(self):
        return f"[{self.sent:.4f}-{self.done:.4f} {self.kind} {self.video} {self.replace or ''} -> {self.status} {self.body}]"


def model(state, call):
    """What the contract says: streams are (video, when it was paused, or 0), oldest first, and what was ended is remembered."""
    streams, ended = list(state[0]), list(state[1])
    at = next((i for i, (video, _) in enumerate(streams) if video == call.video), None)
    playing = [video for video, paused in streams if not paused]
    answer = {}

    def end(video):
        streams[:] = [stream for stream in streams if stream[0] != video]
        ended[:] = [other for other in ended if other != video] + [video]

    if call.kind in ("POST", "REPLACE", "OLDEST"):
        gone, full = None, call.video not in playing and len(playing) >= LIMIT
        if full:
            gone = {"REPLACE": call.replace if call.replace in playing else None, "OLDEST": playing[0]}.get(call.kind)
        if full and gone is None:
            answer["status"] = 409
        else:
            if gone:
                end(gone)
            at = next((i for i, (video, _) in enumerate(streams) if video == call.video), None)
            answer.update(status=201 if at is None else 200, replaced=gone)
            ended = [video for video in ended if video != call.video]
            if at is None:
                streams.append((call.video, 0))
            else:
                streams[at] = (call.video, 0)
    elif call.kind == "LIST":
        answer.update(status=200, list=[(video, bool(paused)) for video, paused in streams])
    elif call.kind == "DELETE":
        answer["status"] = 404 if at is None else 200
        if at is not None:
            end(call.video)
    elif at is None:
        answer["status"] = 410 if call.video in ended else 404
    else:
        answer["status"] = 200
        if call.kind == "PAUSE":
            streams[at] = (call.video, 1)
        elif call.kind == "RESUME" and call.video not in playing:
            if len(playing) >= LIMIT:
                answer["status"] = 409
            else:
                streams[at] = (call.video, 0)
    answer["count"] = sum(not paused for _, paused in streams)
    return (tuple(streams), tuple(ended)), answer


def agrees(call, answer):
    body = call.body
    if call.status != answer["status"] or body.get("count", answer["count"]) != answer["count"]:
        return False
    if "list" in answer:
        return [(s["id"], s["state"] == "paused") for s in body["streams"]] == answer["list"]
    return "replaced" not in answer or body.get("replaced", {}).get("id") == answer["replaced"]


def linearizable(calls, budget=200_000):
    """True, False, or None if the search was given up."""
    calls = sorted(calls, key=lambda call: call.sent)
    until = [INF if call.status == 503 else call.done for call in calls]
    needed = sum(1 << i for i, end in enumerate(until) if end != INF)
    seen, stack = set(), [(0, ((), ()))]
    while stack:
        done, state = stack.pop()
        if done & needed == needed:
            return True
        budget -= 1
        if budget == 0:
            return None
        limit, candidates = INF, []
        for i, call in enumerate(calls):
            if call.sent > limit:
                break
            if not done >> i & 1:
                candidates.append(i)
                limit = min(limit, until[i])
        for i in reversed([i for i in candidates if calls[i].sent <= limit]):
            after, answer = model(state, calls[i])
            if until[i] != INF and not agrees(calls[i], answer):
                continue
            step = done | 1 << i, after
            if step not in seen:
                seen.add(step)
                stack.append(step)
    return False


def history(ports, user, clients=4, calls=12):
    """What a few clients saw who asked for one user at once."""
    seen, seed = [], random.randrange(1 << 30)

    def client(number):
        choice, connections = random.Random(seed + number), {}
        for _ in range(calls):
            call = Call(choice)
            call.send(choice.choice(ports), user, connections)
            seen.append(call)
            if call.status == 503:
                time.sleep(0.02)
        for connection in connections.values():
            connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return seed, seen


def check(name, ports, users):
    total, lost, unsure, given_up = 0, 0, 0, 0
    for n in range(users):
        seed, calls = history(ports, f"{name}{n}")
        total += len(calls)
        unsure += sum(call.status == 503 for call in calls)
        if not (verdict := linearizable(calls)):
            given_up += verdict is None
            if verdict is False:
                print(f"seed {seed}, no order explains:", *sorted(calls, key=lambda call: call.sent), sep="\n  ")
                lost += 1
    print(f"{name}: {users} histories, {total} calls, {unsure} of them 503, {given_up} too long to search, {lost} not linearizable")
    assert lost == 0 and given_up <= users // 5


def status(instance, method, video, connections={}):
    call = Call(random)
    call.request = method, f"/?id={video}", None
    call.send(instance.port, "bob", {})
    return call.status


def histories(binary, server, dir):
    port = free_port()
    engine = start(server, port, dir)
    proxy = Proxy(port)
    instances = [Instance(binary, f"redis://127.0.0.1:{proxy.port}", dir) for _ in range(2)]
    try:
        ports = [instance.port for instance in instances]
        wait(lambda: status(instances[0], "POST", "x") == 201, "the engine is there")
        check("quiet", ports, 40)
        proxy.cut = 150
        check("cut", ports, 40)
    finally:
        [instance.stop() for instance in instances]
        engine.kill()
        engine.wait()


def sentinels(binary, server, dir):
    """The master is killed, its replica takes over, and the old master comes back before anybody has told it."""
    master, replica, *watchers = [free_port() for _ in range(5)]
    processes = {master: start(server, master, dir)}
    instances = []
    try:
        processes[replica] = start(server, replica, dir, "--replicaof", "127.0.0.1", str(master))
        for port in watchers:
            os.makedirs(os.path.join(dir, str(port)))
            with open(os.path.join(dir, str(port), "sentinel.conf"), "w") as conf:
                conf.write(f"sentinel monitor m 127.0.0.1 {master} 2\nsentinel down-after-milliseconds m 1000\nsentinel failover-timeout m 5000\n")
            processes[port] = start(server, port, dir, sentinel=True)
        wait(lambda: "slaves=1,sentinels=3" in Redis(watchers[0])("INFO", "sentinel").decode(), "the Sentinels know each other")
        url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in watchers) + "/m"
        instances.append(Instance(binary, url, dir))
        wait(lambda: status(instances[0], "GET", "a") == 200, "the master is found")
        assert [status(instances[0], "POST", video) for video in "abc"] == [201] * 3
        record = Redis(master)("GET", "streamer:bob")
        wait(lambda: Redis(replica)("GET", "streamer:bob") == record, "the replica has them")
        processes[master].kill()
        processes[master].wait()
        killed = time.monotonic()
        wait(lambda: status(instances[0], "PATCH", "a") == 200, "the replica has taken over")
        print(f"Sentinels: the master was killed, and after {time.monotonic() - killed:.1f} s its users were served again")
        # One that leads hangs before the others have heard of it: they would go on with the old master, and be right.
        named = lambda watcher: int(Redis(watcher)("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m")[1])
        wait(lambda: all(named(watcher) == replica for watcher in watchers), "all Sentinels have heard of it")
        processes[watchers[0]].send_signal(signal.SIGSTOP)
        processes[master] = start(server, master, dir)
        instances.append(Instance(binary, url, dir))
        wait(lambda: status(instances[1], "PATCH", "a") == 200, "the second instance is there")
        wait(lambda: [status(instance, "GET", "a") for instance in instances] == [200, 200], "both serve")
        old = Redis(master)("ROLE")[0]
        refused = [status(instance, "POST", "d") for instance in instances]
        assert refused == [409, 409], f"two counts: {refused}"
        print(f"the old master came back as {old.decode()}, one Sentinel hangs: both instances have one count")
    finally:
        [instance.stop() for instance in instances]
        for process in processes.values():
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--server", default="redis-server")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as dir:
        histories(arguments.binary, arguments.server, dir)
        sentinels(arguments.binary, arguments.server, dir)


if __name__ == "__main__":
    main()
