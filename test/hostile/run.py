#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the attempts of a helper that somebody has broken into, and tells what came of each.

Reads a JSON object: the attempts' names, and what there is to attack. Writes one: what the kernel has of Landlock, and what
came of each attempt at each level of confinement. Each attempt has a process of its own where the filter may kill it.
"""
import concurrent.futures
import ctypes
import json
import os
import re
import signal
import subprocess
import sys

ENTRY = "/usr/libexec/authnft"
CGROUPS = "/sys/fs/cgroup"
# What the entry is told at each level. What it leaves to the program, that does itself.
WORDS = {"unconfined": ["AUTHNFT_NO_SANDBOX=1"], "capabilities": ["AUTHNFT_NO_SANDBOX=1"], "files": [], "all": []}
LANDLOCK_CREATE_RULESET = 444
VERSION = 1
told = json.load(sys.stdin)
sleepers = []


def sleeper(cgroup=None):
    process = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
    sleepers.append(process)
    if cgroup:
        with open(f"{CGROUPS}/{cgroup}/cgroup.procs", "w") as procs:
            procs.write(str(process.pid))
    return process.pid


def targets(number, level):
    victim = sleeper()
    with open(f"/proc/{victim}/maps") as maps:
        address = maps.readline().split("-")[0]
    return {
        **told["targets"],
        "victim": victim,
        "address": address,
        "member": sleeper("authnft.slice/hostile"),
        "user": sleeper("user.slice/hostile"),
        "unique": f"hostile-{number}-{level}",
    }


def helper(level, names):
    attempts = [{"name": name, "targets": targets(told["attempts"].index(name), level)} for name in names]
    order = {"level": level, "capabilities": capabilities, "attempts": attempts}
    try:
        done = subprocess.run(
            [ENTRY, "session", *WORDS[level]], input=json.dumps(order).encode(), capture_output=True, timeout=30
        )
    except subprocess.TimeoutExpired:
        return {name: "hangs" for name in names}
    answers = [line.split("\t") for line in done.stdout.decode().splitlines()]
    outcomes = {name: outcome for name, outcome in answers}
    if done.returncode == -signal.SIGSYS:
        outcomes[answers[-1][0]] = "killed"
    complaint = f"exit {done.returncode}: {done.stderr.decode().strip()}"
    return {name: outcomes.get(name) or complaint for name in names}


for cgroup in ("authnft.slice/hostile", "user.slice/hostile"):
    os.makedirs(f"{CGROUPS}/{cgroup}", exist_ok=True)
# What is tried without Landlock has the very capabilities that the entry leaves.
waiting = subprocess.Popen([ENTRY, "session"], stdin=subprocess.PIPE)
while True:
    with open(f"/proc/{waiting.pid}/status") as status:
        text = status.read()
    if text.startswith("Name:\tauthnft\n") and "NoNewPrivs:\t1" in text and os.readlink(f"/proc/{waiting.pid}/exe").startswith("/usr/lib/"):
        break
capabilities = re.search(r"CapEff:\t(\w+)", text)[1]
waiting.kill()
waiting.wait()

try:
    with concurrent.futures.ThreadPoolExecutor(told["workers"]) as pool:
        groups = [(level, told["attempts"]) for level in WORDS if level != "all"]
        groups += [("all", [name]) for name in told["attempts"]]
        tasks = [(level, pool.submit(helper, level, names)) for level, names in groups]
        outcomes = {name: {} for name in told["attempts"]}
        for level, task in tasks:
            for name, outcome in task.result().items():
                outcomes[name][level] = outcome
finally:
    for process in sleepers:
        process.kill()
        process.wait()
landlock = ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, 0, VERSION)
json.dump({"landlock": landlock, "outcomes": outcomes}, sys.stdout)
