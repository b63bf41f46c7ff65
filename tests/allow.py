#!/usr/bin/env python3
"""Under `--store-down allow` nobody is kept from watching while the engine is away, and nobody loses a place by its return.

    python3 tests/allow.py --binary target/release/streamer [--server redis-server]

Forty users with three devices each, which is the limit, zap, stop and send heartbeats as the example player does. Meanwhile the
engine hangs for 5 s, and is killed for two leases and comes back with its data. Std only; three quarters of a minute.
"""

import argparse, base64, collections, hashlib, http.client, json, os, random, signal, tempfile, threading, time

from engine import Instance, free_port, start, wait

LEASE, LIMIT, USERS = 6, 3, [f"user{i}" for i in range(40)]
passed = failed = 0


def check(name, got, expected):
    global passed, failed
    passed, failed = passed + (got == expected), failed + (got != expected)
    print(f"ok      {name}" if got == expected else f"FAILED  {name}: {got}, not {expected}", flush=True)


def call(connection, method, target, user=None, body=None):
    headers = {"Content-Type": "application/json"}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:x".encode()).decode()
    connection.request(method, target, body and json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read().decode()
    return response.status, json.loads(text) if text.startswith("{") else text.strip()


class Viewer(threading.Thread):
    """One device. With `switch` a POST ends what it played before; else a DELETE does, and a POST only behind what was not counted."""

    def __init__(self, port, user, device, switch, zaps=True):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.user, self.device, self.switch, self.zaps = user, device, switch, zaps
        self.over, self.video, self.counted, self.answers = threading.Event(), None, True, []

    def ask(self, method, video, extra="", body=None):
        try:
            status, answer = call(self.connection, method, f"/?id={video}&device={self.device}{extra}", self.user, body)
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            status, answer = 0, {"detail": str(error)}
        self.answers.append((time.monotonic(), method, status, answer))
        # A DELETE's may be the last word of an outage: nobody has heard it.
        self.counted = answer.get("counted", True) and (self.counted or method == "POST")
        return status

    def post(self, body=None):
        return self.ask("POST", self.video, "&switch=" if self.switch or not self.counted else "", body)

    def zap(self):
        old, self.video = self.video, f"v{random.randrange(1000)}"
        # What the switch has ended has no DELETE of its own; without it the old one ends first, as a page that closes does.
        if old and not self.switch:
            self.ask("DELETE", old)
        return self.post({"time": 0})

    def run(self):
        self.over.wait(random.random())
        status = self.zap()
        while not self.over.wait(1):
            if self.zaps and random.randrange(3) == 0:
                status = self.zap()
            elif not self.counted or status == 404:
                status = self.post()
            else:
                status = self.ask("PATCH", self.video, body={"time": 1, "state": "playing"})
            if status in (409, 410):
                return

    def refusals(self):
        # A DELETE's 404 is what a player passes over: its stream is gone, which is what it asked for.
        return [(f"{at:.1f}", self.user, self.device, method, status, answer.get("detail")) for at, method, status, answer in self.answers
                if not 200 <= status < 300 and (method, status) != ("DELETE", 404)]


def outage(instance, name, seconds, away, back):
    connection, admin = (http.client.HTTPConnection("127.0.0.1", port, timeout=10) for port in (instance.port, instance.admin))
    viewers = [Viewer(instance.port, user, f"d{n}", n % 2 == 0) for user in USERS for n in range(LIMIT)]
    [viewer.start() for viewer in viewers]
    time.sleep(4)
    check(f"{name}: before it all are counted", all(a.get("counted", True) for v in viewers for *_, a in v.answers), True)
    check(f"{name}: /readyz before it", call(admin, "GET", "/readyz"), (200, "ok"))
    gone = time.monotonic()
    away()
    # More devices than the limit has room for, and none of them knows it.
    greedy = [Viewer(instance.port, "greedy", f"d{n}", False, zaps=False) for n in range(LIMIT + 2)]
    [viewer.start() for viewer in greedy]
    time.sleep(2)
    check(f"{name}: /readyz during it", call(admin, "GET", "/readyz")[0], 200)
    wait(lambda: "degraded" in str(call(admin, "GET", "/readyz")[1]), f"{name}: it says degraded", 5)
    check(f"{name}: limit 0 stays refused", call(connection, "POST", "/?id=a&device=d", "suspended")[0], 409)
    check(f"{name}: a wrong user stays a 401", call(connection, "POST", "/?id=a&device=d", "nobody")[0], 401)
    for change in "?hold=1m", "", "?id=a":
        check(f"{name}: an operator's DELETE {change} is a 503", call(admin, "DELETE", f"/users/user0{change}")[0], 503)
    check(f"{name}: more than the limit may watch", [v.refusals() for v in greedy if v.refusals()], [])
    time.sleep(max(0, gone + seconds - time.monotonic()))
    back()
    returned = time.monotonic()
    try:
        wait(lambda: call(admin, "GET", "/readyz") == (200, "ok"), "/readyz is ok", 5)
    except AssertionError:
        pass
    check(f"{name}: /readyz after it", call(admin, "GET", "/readyz"), (200, "ok"))
    print(f"        after {time.monotonic() - returned:.1f} s")
    time.sleep(LEASE + 3)
    told = collections.Counter(status for v in greedy for at, _, status, _ in v.answers if at > returned and status >= 400)
    check(f"{name}: who is over the limit is told so after it", told, {409: 2})
    count = call(connection, "GET", "/", "greedy")[1]["count"]
    check(f"{name}: and is counted", count, LIMIT)
    check(f"{name}: limit 0 after it", call(connection, "POST", "/?id=a&device=d", "suspended")[0], 409)
    wrong = {user for user in USERS if call(connection, "GET", "/", user)[1]["count"] > LIMIT}
    check(f"{name}: nobody is counted above the limit", wrong, set())
    [viewer.over.set() for viewer in viewers + greedy]
    [viewer.join() for viewer in viewers + greedy]
    # Each viewer's last word: what the engine has is what they play.
    lists = {user: {(s["id"], s["device"]) for s in call(connection, "GET", "/", user)[1]["streams"]} for user in USERS}
    check(f"{name}: every stream is counted again", [v.user for v in viewers if (v.video, v.device) not in lists[v.user]], [])
    uncounted = sum(a.get("counted") is False for v in viewers for *_, a in v.answers)
    check(f"{name}: there were uncounted answers", uncounted > len(viewers), True)
    check(f"{name}: nobody within the limit is refused", [line for v in viewers for line in v.refusals()], [])
    print(f"        {sum(len(v.answers) for v in viewers)} answers, {uncounted} of them uncounted")
    for user in [*USERS, "greedy"]:
        assert call(admin, "DELETE", f"/users/{user}")[0] == 200


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--server", default="redis-server")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as dir:
        users, port = os.path.join(dir, "users"), free_port()
        token = hashlib.sha256(b"x").hexdigest()
        with open(users, "w") as file:
            file.writelines(f"{user}:{token}\n" for user in [*USERS, "greedy"])
            file.write(f"suspended:{token}:0\n")
        engine = [start(arguments.server, port, dir, "--appendonly", "yes")]
        def kill():
            engine[0].kill()
            engine[0].wait()

        def again():
            engine[0] = start(arguments.server, port, dir, "--appendonly", "yes")

        instance = None
        try:
            instance = Instance(arguments.binary, f"redis://127.0.0.1:{port}", dir, "--users", users,
                                "--limit", str(LIMIT), "--store-down", "allow", "--store-timeout", "500ms", lease=f"{LEASE}s")
            outage(instance, "a hang of 5 s", 5, lambda: engine[0].send_signal(signal.SIGSTOP), lambda: engine[0].send_signal(signal.SIGCONT))
            outage(instance, "death for two leases", 2 * LEASE, kill, again)
        finally:
            if instance:
                instance.stop()
            engine[0].send_signal(signal.SIGCONT)
            kill()
    print(f"{passed} passed, {failed} failed")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
