#!/usr/bin/env python3
"""Mints tokens as docs/operating.md shows (PyJWT, jose, openssl, our own), and changes keys without a failed request.

    python3 tests/tokens.py --binary target/release/streamer --modules DIR

DIR/python has PyJWT and DIR/node_modules has jose: .ci/run puts them there. Of the documents' lines those that mint are run as
they stand, in a folder with the key.
"""
import argparse, base64, http.client, pathlib, re, signal, subprocess, sys, tempfile, threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/operating.md").read_text()
SECTION = re.search(r"^### Tokens that your login mints\n(.*?)(?=^##)", TEXT, re.M | re.S)[1]


def block(language):
    found = re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.M | re.S)
    assert len(found) == 1, f"one block of {language}"
    return found[0]


class Server:
    """The program, on a port of the system's choice."""

    def __init__(self, binary, *flags):
        self.process = subprocess.Popen([binary, "--listen", "127.0.0.1:0", "--admin", "off", "--log", "off", *flags],
                                        stderr=subprocess.PIPE, text=True)
        self.port = int(re.search(r"listens on http://127.0.0.1:(\d+)", self.process.stderr.readline())[1])

    def ask(self, authorization, connection=None):
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/", headers={"Authorization": authorization})
        response = connection.getresponse()
        return response.status, response.read().decode()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)
        said = self.process.stderr.readline()
        assert "reloaded: " in said and "nothing" not in said, said

    def stop(self):
        self.process.terminate()
        self.process.stderr.read()
        assert self.process.wait(10) == 0


def basic(user, token):
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


def run(command, folder, text=None):
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mint_everywhere(binary, modules, folder):
    """One token by each of the documents' ways."""
    (folder / "secret").write_text(run([binary, "key"], folder))
    (folder / "node_modules").symlink_to(modules / "node_modules")
    (folder / "mint.mjs").write_text(block("js"))
    yield "PyJWT", 5, run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(modules / 'python')!r})\n"
                           + block("python")], folder)
    yield "jose", 3, run(["node", "mint.mjs"], folder)
    yield "openssl", 3, run(["bash", "-euo", "pipefail"], folder, block("bash"))
    yield "streamer", 3, run([binary, "token", "alice", "--secret", "secret"], folder)


def check_minting(binary, modules, folder):
    tokens = list(mint_everywhere(binary, modules, folder))
    server = Server(binary, "--secret", folder / "secret")
    for name, limit, token in tokens:
        token = token.strip()
        for authorization in [f"Bearer {token}", basic("alice", token)]:
            status, body = server.ask(authorization)
            assert status == 200 and f'"limit":{limit},' in body, f"{name}: {status} {body}"
        for wrong in [f"Bearer {token[:-1]}", f"Bearer {token}A", basic("bob", token)]:
            assert server.ask(wrong)[0] == 401, f"{name}: {wrong}"
        print(f"{name}: a token of {len(token)} bytes is let in, and no other")
    server.stop()


def check_libraries_read_ours(binary, modules, folder):
    """What we mint is a token to others too."""
    sys.path.insert(0, str(modules / "python"))
    import jwt
    key = (folder / "secret").read_text().strip()
    made = run([binary, "token", "Żółw", "--secret", "secret", "--limit", "3,live=1", "--class", "a,b", "--admin",
                "--audience", "tv", "--ttl", "1h"], folder).strip()
    claims = jwt.decode(made, key, algorithms=["HS256"], audience="tv")
    expires = claims.pop("exp") - time.time()
    assert claims == {"sub": "Żółw", "limit": "3,live=1", "class": ["a", "b"], "admin": True, "aud": "tv"}, claims
    assert 3590 < expires <= 3601, expires
    (folder / "verify.mjs").write_text("""
import { readFileSync } from "node:fs";
import { jwtVerify } from "jose";
const key = new TextEncoder().encode(readFileSync("secret", "utf8").trim());
const { payload } = await jwtVerify(process.argv[2], key, { algorithms: ["HS256"], audience: "tv" });
console.log(payload.sub);
""")
    assert run(["node", "verify.mjs", made], folder) == "Żółw\n"
    print("PyJWT and jose verify what streamer mints")
    return jwt


class Viewers(threading.Thread):
    """Asks over and over with the newest token of the login, on a kept connection and on new ones."""

    def __init__(self, server, mint):
        super().__init__()
        self.server, self.mint, self.statuses, self.going = server, mint, [], True

    def run(self):
        kept = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        while self.going:
            token = self.mint()
            for connection in [kept, kept, None]:
                self.statuses.append(self.server.ask(f"Bearer {token}", connection)[0])


def check_rotation(binary, jwt, folder):
    old, new = (run([binary, "key"], folder).strip() for _ in range(2))
    secret = folder / "rotated"
    secret.write_text(f"{old}\n")
    server, login = Server(binary, "--secret", secret), [old]
    mint = lambda: jwt.encode({"sub": "alice", "exp": time.time() + 60}, login[0], algorithm="HS256")
    viewers = [Viewers(server, mint) for _ in range(3)]
    for viewer in viewers:
        viewer.start()
    def goes_on():
        before = [len(viewer.statuses) for viewer in viewers]
        while any(len(viewer.statuses) < n + 30 for viewer, n in zip(viewers, before)):
            time.sleep(0.01)
    last_old = mint()
    goes_on()
    secret.write_text(f"{old}\n{new}\n")  # The new key behind the old one, on every server.
    server.reload()
    goes_on()
    login[0] = new  # Then the login signs with the new one.
    goes_on()
    assert server.ask(f"Bearer {last_old}")[0] == 200
    secret.write_text(f"{new}\n")  # When the last old token has expired, the old key goes.
    server.reload()
    goes_on()
    assert server.ask(f"Bearer {last_old}")[0] == 401
    for viewer in viewers:
        viewer.going = False
        viewer.join()
    statuses = [status for viewer in viewers for status in viewer.statuses]
    assert set(statuses) == {200}, {status: statuses.count(status) for status in set(statuses)}
    server.stop()
    print(f"keys were changed under {len(statuses)} requests, and none failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/release/streamer"))
    parser.add_argument("--modules", default=str(ROOT / "target/tokens"))
    arguments = parser.parse_args()
    binary, modules = (pathlib.Path(path).resolve() for path in (arguments.binary, arguments.modules))
    with tempfile.TemporaryDirectory(prefix="streamer-tokens-") as folder:
        folder = pathlib.Path(folder)
        check_minting(binary, modules, folder)
        jwt = check_libraries_read_ours(binary, modules, folder)
        check_rotation(binary, jwt, folder)


if __name__ == "__main__":
    main()
