#!/usr/bin/env python3
"""No worker of players ever waits but in its poller: the program runs under strace and under load, with a journal and with an
engine, and each call of a thread called worker-N is looked at. It opens, reads, writes or syncs no file, and connects nowhere.
And a lock of the journal's directory that is interrupted is tried again, and one that the file system does not have is said.

usage: strace.py --binary PATH [--seconds N]
"""
import argparse, base64, pathlib, re, shutil, socket, subprocess, sys, tempfile, threading, time

from engine import free_port, start

# What a file or a name would take. Sockets are read and written; they never block.
CALLS = ("open,openat,creat,read,write,pread64,pwrite64,readv,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,"
         "ftruncate,rename,renameat,renameat2,unlink,unlinkat,connect,poll,ppoll,select,nanosleep,clock_nanosleep,"
         # These are right, and show that the trace is one.
         "epoll_wait,epoll_pwait,recvfrom,sendto")


def load(port, number, until, answered):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(20)
        user = base64.b64encode(f"user{number}:x".encode()).decode()
        while time.monotonic() < until:
            for method, target in [("POST", "/?id=A"), ("PATCH", "/?id=A"), ("GET", "/"), ("POST", "/?id=B"), ("DELETE", "/?id=B")]:
                client.sendall(f"{method} {target} HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {user}\r\n\r\n".encode())
                status = client.recv(65536)[9:12]
                if status not in (b"200", b"201"):
                    sys.exit(f"{method} {target} was answered {status}")
                answered.append(1)


def forbidden(call):
    """Whether a line of strace is a call that may wait for something else than the poller."""
    name = call.split("(", 1)[0]
    if name in ("read", "write", "readv", "writev"):
        # Its file, as strace -y shows it: a path, or a kind of socket.
        return re.match(r"\w+\(\d+</", call) is not None
    return name not in ("epoll_wait", "epoll_pwait", "recvfrom", "sendto")


def check(binary, store, seconds):
    port, folder = free_port(), pathlib.Path(tempfile.mkdtemp())
    command = ["strace", "-f", "-qq", "-y", "-e", f"trace={CALLS}", "-o", folder / "trace", binary, "--listen",
               f"127.0.0.1:{port}", "--admin", "off", "--open", "--log", "text", "--workers", "2", "--store", store]
    if store.startswith("redis"):
        # A machine that stands still is not to be an engine that does not answer.
        command += ["--store-timeout", "2s"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    server.stderr.readline()
    pid = int(subprocess.run(["pgrep", "-P", str(server.pid)], capture_output=True, text=True, check=True).stdout)
    time.sleep(1)
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    workers = {task.name for task in tasks if (task / "comm").read_text().startswith("worker-")}
    begun = (folder / "trace").stat().st_size
    answered, until = [], time.monotonic() + seconds
    threads = [threading.Thread(target=load, args=(port, number, until, answered)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    traced = (folder / "trace").read_bytes()[begun:].decode(errors="replace")
    subprocess.run(["kill", str(pid)], check=True)
    server.wait(30)
    shutil.rmtree(folder)
    # A call that another thread's line has cut is shown once more when it goes on.
    calls = [line.split(None, 1) for line in traced.splitlines()[1:] if "resumed>" not in line]
    of_workers = [call for thread, call in calls if thread in workers]
    wrong = [call for call in of_workers if forbidden(call)]
    print(f"{store.split(':')[0]}: {len(answered)} answers, {len(of_workers)} calls of {len(workers)} workers, {len(wrong)} wrong")
    if len(workers) != 2 or len(answered) < 100 or not of_workers or wrong:
        sys.exit("\n".join(wrong[:20]) or "the load or the trace is not what it should be")


def lock(binary, store, error, said):
    """What the program says first when the lock of its directory fails so, three times."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", f"inject=flock:error={error}:when=1..3", binary,
               "--listen", "127.0.0.1:0", "--admin", "off", "--open", "--store", store]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    line = server.stderr.readline()
    if "listens on" in line:
        subprocess.run(["pkill", "-P", str(server.pid)], check=True)
    # Else it ends by itself.
    server.wait(30)
    print(f"{error}: {line.strip()}")
    if said not in line:
        sys.exit(f"not said: {said}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    binary = str(pathlib.Path(args.binary).resolve())
    with tempfile.TemporaryDirectory() as folder:
        check(binary, f"dir:{folder}/journal", args.seconds)
        lock(binary, f"dir:{folder}/journal", "EINTR", "listens on")
        lock(binary, f"dir:{folder}/journal", "ENOLCK", "has its file system (NFS?) no locks?")
        port = free_port()
        engine = start("redis-server", port, folder)
        try:
            check(binary, f"redis://127.0.0.1:{port}", args.seconds)
        finally:
            engine.terminate()
            engine.wait(10)


main()
