#!/usr/bin/env python3
"""Makes sessions of the JSON log, for billing and to see who shares an account:

    ops/sessions.py [LEASE] <streamer.log >sessions.csv

One whose player fell silent ended a lease (90 s) after its last sign of life; one that is `gone` was found to have been ended by
another start. What was paused counts as watched: the log does not have it."""
import csv, datetime, json, sys
from urllib.parse import parse_qs, urlsplit

lease = datetime.timedelta(seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 90)
watched, out = {}, csv.writer(sys.stdout, lineterminator="\n")
out.writerow(["user", "id", "device", "peer", "start", "end", "seconds", "how"])

def end(key, at, how):
    start, _, peer = watched.pop(key)
    out.writerow([*key, peer, start.isoformat(), at.isoformat(), round((at - start).total_seconds()), how])

for call in map(json.loads, sys.stdin):
    if "user" not in call or "target" not in call:
        continue
    at, url, gone = datetime.datetime.fromisoformat(call["time"]), urlsplit(call["target"]), call["status"] in (404, 410)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    key = call["user"], query.get("id"), query.get("device")
    begins = call["method"] in ("POST", "PATCH") or url.path == "/gate"
    for key in [old for old in watched if old[0] == key[0] and key[1] in (None, old[1])] if call["listener"] == "admin" else [key]:
        if key in watched and watched[key][1] + lease < at:
            end(key, watched[key][1] + lease, "expired")
        if call["method"] == "DELETE" and call["status"] == 200 and key in watched:
            end(key, at, "operator" if call["listener"] == "admin" else "stopped")
        elif gone and key in watched:
            end(key, watched[key][1], "gone")
        elif begins and call["status"] in (200, 201, 204) and call["listener"] == "public":
            watched.setdefault(key, [at, at, call["peer"].rsplit(":", 1)[0]])[1] = at
for key in list(watched):
    late = watched[key][1] + lease < at
    end(key, watched[key][1] + lease if late else at, "expired" if late else "watching")
