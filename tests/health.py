#!/usr/bin/env python3
"""Readiness says what commands get: an engine that lets the program in and then refuses, hangs, or lies is a 503 for both, said
once with what to change, asked at most five times a second, and used again by itself.

    python3 tests/health.py --binary target/release/streamer [--server redis-server]

Rights that go while it runs, paused writes, too few replicas, a master that becomes a replica; commands that were renamed away; a
replica that is listed first, for a user who may not ask for the role; slots that no node serves, half a Cluster that is ill.
Std only; some ten seconds, for they are tried side by side.
"""

import argparse, concurrent.futures, functools, http.client, os, random, re, tempfile, time

from cluster import Cluster
from engine import Instance, Redis, free_port, start, wait
from linear import Call

with open(os.path.join(os.path.dirname(__file__), "../docs/stores.md")) as file:
    RIGHTS = re.search(r"An access list has to allow streamer: `(.*) ~streamer:\*`", file.read()).group(1).split()
USERS = [f"u{i}" for i in range(12)]
failed = 0


def check(name, got, expected):
    global failed
    failed += got != expected
    # Newline and all in one, for another thread may print.
    print(f"ok      {name}\n" if got == expected else f"FAILED  {name}: {got}, not {expected}\n", end="", flush=True)


def ready(instance):
    connection = http.client.HTTPConnection("127.0.0.1", instance.admin, timeout=5)
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    return response.status, response.read().decode()


def answers(instance):
    call, connections, seen = Call(random), {}, set()
    call.request = "POST", "/?id=a", None
    for user in USERS:
        call.send(instance.port, user, connections)
        seen.add(call.status)
    return seen


def ill(name, instance, engine, said):
    """All that is asked is a 503, and so is readiness, which says why; and nobody is asked too often."""
    count = lambda: int(re.search(r"total_connections_received:(\d+)", engine("INFO", "stats").decode()).group(1))
    told = lambda: open(instance.log.name).read().count("cannot be used")
    # A connection that is there already may serve until it asks for the time again.
    wait(lambda: answers(instance) == {503} and ready(instance)[0] == 503, f"{name}: all is refused, and /readyz says so", 10)
    time.sleep(1)
    before, told_before, seen, began = count(), told(), set(), time.monotonic()
    for _ in range(8):
        seen |= {(answer, ready(instance)[0]) for answer in answers(instance)}
        time.sleep(0.2)
    check(f"{name}: commands, and /readyz beside them", seen, {(503, 503)})
    check(f"{name}: it says why", said in ready(instance)[1], True)
    tries, most = count() - before, 2 + 5 * (time.monotonic() - began)
    check(f"{name}: tried at most five times a second, and tried on", 1 <= tries <= most, True)
    time.sleep(1.5)
    check(f"{name}: nobody asks, and it says so still", ready(instance)[0], 503)
    check(f"{name}: said, and not again", (told_before > 0, told()), (True, told_before))


def well(name, instance):
    wait(lambda: ready(instance)[0] == 200, f"{name}: it is ready again", 10)
    check(f"{name}: all are served again", answers(instance) <= {200, 201}, True)


def set_user(*rules):
    return "ACL", "SETUSER", "app", *rules


def without(*rules):
    return set_user(*rules), set_user("resetkeys", "~streamer:*", *RIGHTS), "the rights"


# What goes while it runs: what is done to the engine, how it is undone, what is said.
SINGLE = {
    "no EVAL": without("-eval", "-evalsha"),
    "no SET": without("-set"),
    "no TIME": without("-time"),
    "no rights to the keys": without("resetkeys", "~other:*"),
    "writes are paused": (("CLIENT", "PAUSE", 100_000, "WRITE"), ("CLIENT", "UNPAUSE"), "no answer in time"),
    "its memory is full": (("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0), "`maxmemory`"),
    "too few replicas": (("CONFIG", "SET", "min-replicas-to-write", 1), ("CONFIG", "SET", "min-replicas-to-write", 0), "min-replicas"),
    "a replica": (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"), "is a replica"),
}


def single(name, arguments, dir):
    fault, undo, said = SINGLE[name]
    port = free_port()
    process, instance = start(arguments.server, port, dir), None
    try:
        engine = Redis(port)
        engine(*set_user("on", ">secret", "~streamer:*", *RIGHTS))
        instance = Instance(arguments.binary, f"redis://app:secret@127.0.0.1:{port}", dir)
        well(f"{name}, before", instance)
        engine(*fault)
        ill(name, instance, engine, said)
        engine(*undo)
        well(name, instance)
    finally:
        instance and instance.stop()
        process.kill()
        process.wait()


def renamed(command, arguments, dir):
    port = free_port()
    process, instance = start(arguments.server, port, dir, "--rename-command", command, ""), None
    try:
        instance = Instance(arguments.binary, f"redis://127.0.0.1:{port}", dir)
        ill(f"{command} is renamed away", instance, Redis(port), "lacks a command")
    finally:
        instance and instance.stop()
        process.kill()
        process.wait()


def replica_first(arguments, dir):
    """The user may not ask for the role: the master is whom a change is taken by."""
    master, replica = free_port(), free_port()
    processes, instance = [start(arguments.server, port, dir) for port in (master, replica)], None
    try:
        for port in master, replica:
            Redis(port)("ACL", "SETUSER", "app", "on", ">secret", "~streamer:*", *(right for right in RIGHTS if right != "+role"))
        Redis(replica)("REPLICAOF", "127.0.0.1", master)
        instance = Instance(arguments.binary, f"redis://app:secret@127.0.0.1:{replica},127.0.0.1:{master}", dir)
        well("a replica is listed first, for a user without +role", instance)
    finally:
        instance and instance.stop()
        for process in processes:
            process.kill()
            process.wait()


def cluster(arguments, dir):
    """One master refuses, another has lost slots: users of the third are served as ever, and readiness names it."""
    nodes, instance = Cluster(arguments.server, dir), None
    try:
        one, *others = nodes.ports[:3]
        instance = Instance(arguments.binary, f"redis://127.0.0.1:{one}", dir)
        well("a Cluster, before", instance)
        Redis(one)("CONFIG", "SET", "min-replicas-to-write", 5)
        answers(instance)
        wait(lambda: "min-replicas" in ready(instance)[1], "the one that refuses is named", 10)
        check("one master refuses: the others' users are served", answers(instance), {200, 503})
        Redis(one)("CONFIG", "SET", "min-replicas-to-write", 0)
        well("one master refuses", instance)
        for node in nodes.alive():
            Redis(node)("CLUSTER", "DELSLOTS", 0)
        Redis(others[0])("CONFIG", "SET", "min-replicas-to-write", 5)
        answers(instance)
        wait(lambda: ready(instance)[0] == 503, "/readyz says that something is wrong", 10)
        time.sleep(0.5)
        Redis(others[0])("CONFIG", "SET", "min-replicas-to-write", 0)
        time.sleep(1.5)
        check("one slot is served by no node: the others' users are served", answers(instance) <= {200, 201}, True)
        Redis(one)("CLUSTER", "ADDSLOTS", 0)
        well("the slot is served", instance)
    finally:
        instance and instance.stop()
        nodes.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--server", default="redis-server")
    arguments = parser.parse_args()
    parts = [cluster, replica_first, *(functools.partial(single, name) for name in SINGLE),
             *(functools.partial(renamed, command) for command in ("EVAL", "GETRANGE", "GETEX"))]
    with tempfile.TemporaryDirectory() as dir, concurrent.futures.ThreadPoolExecutor(6) as threads:
        [done.result() for done in [threads.submit(part, arguments, dir) for part in parts]]
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
