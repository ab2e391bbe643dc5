# SPDX-License-Identifier: GPL-2.0-or-later
"""
Opens and closes a session when it is told, in a process of its own each time, and says what is there afterwards.

Reads lines: "begin USER" (answers the process's number), "arm FILE", "open", "close", "look", "leave". Answers with a line of JSON.
"""
import ctypes
import json
import os
import pwd
import socket
import subprocess
import sys
import time

SLICE = "/sys/fs/cgroup/authnft.slice"


class Conversation(ctypes.Structure):
    _fields_ = [("conv", ctypes.c_void_p), ("data", ctypes.c_void_p)]


def say(value):
    print(json.dumps(value), flush=True)


def connects(host):
    peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    peer.settimeout(0.5)
    try:
        peer.connect((host, 7001))
        return True
    except OSError:
        return False
    finally:
        peer.close()


def reach():
    """Whether what the fragment allows can be reached: with its session's rules, or with nobody's."""
    return connects("10.88.0.2")


def strays():
    """Whether what the fragment forbids can be reached."""
    return connects("10.88.0.3")


def session(user, orders, answers):
    """The process that calls PAM."""
    pam = ctypes.CDLL("libpam.so.0")
    pam.pam_getenv.restype = ctypes.c_char_p
    talk = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 19)
    conversation = Conversation(ctypes.cast(talk, ctypes.c_void_p), None)
    handle = ctypes.c_void_p()
    pam.pam_start(b"lab", user.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    pam.pam_set_item(handle, 4, ctypes.c_char_p(b"192.0.2.10"))
    for line in orders:
        word = line.strip()
        if word == "open":
            result = pam.pam_open_session(handle, 0)
        elif word == "close":
            result = pam.pam_close_session(handle, 0)
        else:
            result = None
        with open("/proc/self/cgroup") as f:
            cgroup = [l for l in f if l.startswith("0::")][0].strip()[3:]
        answers.write(json.dumps({"result": result, "cgroup": cgroup, "reach": reach(), "strays": strays()}) + "\n")
        answers.flush()
    os._exit(0)


def look(pid, user):
    """What is there of a process's session."""
    token = f"-{user}-{pid}"
    table = subprocess.run(["nft", "-j", "list", "table", "inet", "authnft"], capture_output=True).stdout
    objects = [next(iter(o.items())) for o in json.loads(table or b'{"nftables": []}')["nftables"]]
    chains = [v["name"] for k, v in objects if k == "chain" and v["name"].startswith(f"session_{user}_{pid}_")]
    elements = [
        v["name"]
        for k, v in objects
        if k in ("set", "map") and f"session_{user}_{pid}_" in json.dumps(v.get("elem", ""))
    ]
    comments = [
        v["name"] for k, v in objects if k in ("set", "map") and f"{user} (PID:{pid})" in json.dumps(v.get("elem", ""))
    ]

    def names(directory):
        return sorted(n for n in os.listdir(directory) if token in n) if os.path.isdir(directory) else []

    records = {}
    for name in names("/run/authnft/sessions"):
        try:
            with open(f"/run/authnft/sessions/{name}") as f:
                records[name] = json.load(f)["state"]
        except FileNotFoundError:
            pass
        except ValueError:
            records[name] = "no JSON"
    return {
        "chains": sorted(chains),
        "leads": sorted(elements),
        "sets": sorted(comments),
        "records": records,
        "policy": names("/run/authnft/policy"),
        "locks": names("/run/authnft/lock"),
        "scopes": names(SLICE),
    }


def main():
    child = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "begin":
            user = words[1]
            down, up = os.pipe(), os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(down[1])
                os.close(up[0])
                session(user, os.fdopen(down[0]), os.fdopen(up[1], "w"))
            os.close(down[0])
            os.close(up[1])
            child = (pid, user, os.fdopen(down[1], "w"), os.fdopen(up[0]))
            say(pid)
        elif words[0] == "arm":
            open(words[1], "w").close()
            say(None)
        elif words[0] == "look":
            say(look(child[0], child[1]))
        elif words[0] == "leave":
            child[2].close()
            child[3].close()
            os.waitpid(child[0], 0)
            say(None)
        else:
            child[2].write(words[0] + "\n")
            child[2].flush()
            print(child[3].readline(), end="", flush=True)


main()
