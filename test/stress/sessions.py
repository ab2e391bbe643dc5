# SPDX-License-Identifier: GPL-2.0-or-later
"""
Opens and closes sessions of m0 to m9 in the lab, and counts what becomes of them.

  sessions.py pam COUNT PARALLEL    through the PAM service "lab", as logins do
  sessions.py gc COUNT PARALLEL     by the program itself, which collects garbage without end
"""
import collections
import ctypes
import json
import os
import pwd
import subprocess
import sys

PROGRAM = "/usr/lib/authnft/authnft"
# What the entry sets, and that which has the runtime collect at nearly every allocation, in as little memory as it can.
ENV = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C",
    "TMPDIR": "/run/authnft",
    "BUN_JSC_useJIT": "0",
    "BUN_JSC_slowPathAllocsBetweenGCs": "100",
    "BUN_JSC_numberOfGCMarkers": "4",
    "BUN_JSC_scribbleFreeCells": "1",
    "BUN_JSC_forceRAMSize": "67108864",
}


class Conversation(ctypes.Structure):
    _fields_ = [("conv", ctypes.c_void_p), ("data", ctypes.c_void_p)]


def by_pam(user):
    pam = ctypes.CDLL("libpam.so.0")
    talk = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        lambda *_: 19
    )
    handle = ctypes.c_void_p()
    conversation = Conversation(ctypes.cast(talk, ctypes.c_void_p), None)
    if pam.pam_start(b"lab", user.pw_name.encode(), ctypes.byref(conversation), ctypes.byref(handle)) != 0:
        return "no PAM"
    opened = pam.pam_open_session(handle, 0)
    closed = pam.pam_close_session(handle, 0)
    return "ok" if (opened, closed) == (0, 0) else f"PAM says {opened} and {closed}"


def by_program(user):
    said = []
    for kind in ("open", "close"):
        request = {
            "v": 1,
            "type": kind,
            "user": user.pw_name,
            "uid": user.pw_uid,
            "gid": user.pw_gid,
            "service": "lab",
            "rhost": "192.0.2.10",
            "tty": "",
            "ruser": "",
            "pid": os.getpid(),
            "args": [],
            "env": {},
            "session": "",
            "groups": [],
        }
        done = subprocess.run(
            [PROGRAM, "session"],
            input=json.dumps(request).encode(),
            env=ENV,
            cwd="/",
            capture_output=True,
            # Where the module starts it: not in the session.
            preexec_fn=lambda: open("/sys/fs/cgroup/init.scope/cgroup.procs", "w").write("0"),
        )
        # Also after it has answered: the runtime has yet to end then.
        if done.returncode < 0:
            said.append(f"{kind} killed by signal {-done.returncode}")
        else:
            said.append("ok" if b"result=ok" in done.stdout else f"{kind} refused")
    return "ok" if said == ["ok", "ok"] else "; ".join(said)


def main():
    kind, count, parallel = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    act = {"pam": by_pam, "gc": by_program}[kind]
    users = [pwd.getpwnam(f"m{i}") for i in range(10)]
    running = {}
    outcomes = collections.Counter()
    started = 0
    while started < count or running:
        while started < count and len(running) < parallel:
            inward, outward = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.write(outward, act(users[started % 10]).encode())
                os._exit(0)
            os.close(outward)
            running[pid] = inward
            started += 1
        pid, _ = os.wait()
        if pid in running:
            with os.fdopen(running.pop(pid)) as said:
                outcomes[said.read() or "nothing said"] += 1
            if sum(outcomes.values()) % 100 == 0:
                print(json.dumps(outcomes), flush=True)
    print(json.dumps(outcomes), flush=True)


main()
