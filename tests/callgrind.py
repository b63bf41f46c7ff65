#!/usr/bin/env python3
"""What a reader crosses who follows one POST from the socket to the answer: how many of our functions, in how many files, and how
deep they call each other. Callgrind counts it on a debug build, in which nothing is inlined. It fails on growth.

usage: callgrind.py --binary PATH [--list]
"""
import argparse, base64, pathlib, re, socket, subprocess, sys, tempfile, time

from engine import free_port

# What was reached, and a little room.
MOST = {"functions": 374, "files": 65, "deep": 24}
ROOT = pathlib.Path(__file__).resolve().parent.parent


def post(client, user):
    authorization = base64.b64encode(f"{user}:x".encode()).decode()
    body = '{"time":"1:00"}'
    client.sendall(f"POST /?id=V&device=tv HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {authorization}\r\n"
                   f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    status = client.recv(65536)[9:12]
    if status != b"201":
        sys.exit(f"the POST was answered {status}")


def profile(binary, folder):
    """The profiles, one a thread, of a second POST: the first has made what is made once."""
    port, out = free_port(), folder / "out"
    command = ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--demangle=no", "--compress-strings=no", "--separate-callers=100",
               f"--callgrind-out-file={out}", binary, "--listen", f"127.0.0.1:{port}", "--admin",
               "127.0.0.1:0", "--open", "--log", "off", "--workers", "1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while "listens on" not in server.stderr.readline():
        if server.poll() is not None:
            sys.exit("the server does not start under callgrind")

    def control(flag):
        command = ["callgrind_control", flag, str(server.pid)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(60)
        post(client, "alice")
        time.sleep(1)
        control("--zero")
        post(client, "bob")
        control("--dump")
    server.terminate()
    server.communicate(timeout=60)
    return list(folder.glob("out.*1-*"))


def crossed(file):
    """Our functions that ran on a thread, each with its file and with the chain of calls that led to it."""
    ours, chains, source = {}, [], None
    for line in file.read_text().splitlines():
        kind, _, value = line.partition("=")
        if kind == "fl":
            source = value
        elif kind == "fn":
            chain = value.split("'")
            chains.append(chain)
            if source.startswith(("src/", f"{ROOT}/src/")):
                ours[chain[0]] = source
    return ours, chains


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--list", action="store_true", help="also the chain, the files and the functions")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        threads = [crossed(file) for file in profile(args.binary, pathlib.Path(folder))]
    # The worker's is the thread that has decoded a request.
    of_worker = [thread for thread in threads if any("3App6decode" in function for function in thread[0])]
    if len(of_worker) != 1:
        sys.exit(f"{len(of_worker)} of {len(threads)} threads have served the POST")
    ours, chains = of_worker[0]
    chain = max(([function for function in chain if function in ours] for chain in chains), key=len)
    # Of a generic function one, and closures belong to the function that they stand in.
    functions = {re.sub("17h[0-9a-f]{16}E$", "", function) for function in ours if "closure$u7d$" not in function}
    if args.list:
        print(*reversed(chain), *sorted(set(ours.values())), *sorted(functions), sep="\n")
    found = {"functions": len(functions), "files": len(set(ours.values())), "deep": len(chain)}
    print("one POST:", ", ".join(f"{n} {name} (at most {MOST[name]})" for name, n in found.items()))
    if any(n > MOST[name] for name, n in found.items()):
        sys.exit("a POST crosses more than it did")


main()
