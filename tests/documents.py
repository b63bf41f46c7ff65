#!/usr/bin/env python3
"""Runs the documents' own lines, and compares what they print with what the documents say they print.

    python3 tests/documents.py --binary target/release/streamer docs/operating.md "Two instances over one engine"

All ```sh blocks under a heading run in one bash, in order; what a block prints must be the ```text block that follows, if one
does before the next. They run in a network of their own, so that each port is free, and all that they start ends with them.
Needs root and the programs that the document names.
"""
import argparse, os, pathlib, re, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def blocks(document, heading):
    """The commands under a heading, each with what they are said to print, or None."""
    text = (ROOT / document).read_text()
    section = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    assert section, f"{document} has no heading {heading}"
    found = re.findall(r"^```sh\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", section[1], re.M | re.S)
    assert found, f"{document}: no commands under {heading}"
    return found


def run(binary, document, heading):
    with tempfile.TemporaryDirectory(prefix="streamer-documents-") as folder:
        (bin := pathlib.Path(folder, "bin")).mkdir()
        (bin / "streamer").symlink_to(binary)
        found = blocks(document, heading)
        said = [pathlib.Path(folder, f"said{i}") for i in range(len(found))]
        script = "set -e; ip link set lo up\n" + "".join(f"exec >{at}\n{lines}" for at, (lines, _) in zip(said, found))
        namespaces = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        done = subprocess.run([*namespaces, "timeout", "120", "bash", "-c", script], cwd=ROOT, text=True,
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=os.environ | {"PATH": f"{bin}:{os.environ['PATH']}", "TMPDIR": folder})
        for at, (lines, wanted) in zip(said, found):
            got = at.read_text() if at.exists() else ""
            if done.returncode or wanted and got != wanted:
                sys.exit(f"{document}, {heading}: after\n{lines}came\n{got}and not\n{wanted}\n{done.stderr}")
    print(f"{document}, {heading}: {len(found)} blocks")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/release/streamer"))
    parser.add_argument("document")
    parser.add_argument("headings", nargs="+")
    arguments = parser.parse_args()
    for heading in arguments.headings:
        run(pathlib.Path(arguments.binary).resolve(), arguments.document, heading)


if __name__ == "__main__":
    main()
