// SPDX-License-Identifier: GPL-2.0-or-later

// What is tried on a session by processes that it starts, or has started: the ways out of a session that are no packets of
// its own. Each takes away what it made, also when it is interrupted.

import type { Attempt, Fixture, Outcome } from "./attempt.ts";
import { AF_INET, FOUR, UDP } from "./attempts/protocols.ts";
import { hear, nothing, reach, Sockets, word } from "./attempts/sockets.ts";
import { leftOut } from "./attempts.ts";

/** Sends a datagram without our program, which may not be to be had where it is run. */
const DATAGRAM = 'printf %s "$1" >"/dev/udp/127.0.0.1/$2"';

/** What a script calls itself where it complains; what throws the datagram calls itself "bash". */
const SCRIPT = "detour";

/** A process that the member's process starts in some way sends a datagram. */
async function byProcess(
  fixture: Fixture,
  start: readonly string[],
  { before = ":", env = {} }: { readonly before?: string; readonly env?: Readonly<Record<string, string>> },
): Promise<Outcome> {
  await using sockets = new Sockets();
  const receiver = await sockets.make(fixture.outside, AF_INET, UDP);
  const port = await fixture.outside.do("bind", { fd: receiver, to: { ip: "127.0.0.1", port: 0 } });
  const text = word();
  const { code, said } = await fixture.member.do("run", {
    argv: [...start, "bash", "-c", `${before}; ${DATAGRAM}`, "bash", text, String(port)],
    env,
  });
  const heard = await hear(fixture, text, [fixture.outside, receiver]);
  if (heard.passed === true || code === 0) return heard;
  // What bash says is an answer of the network; that the process could not be started is none.
  return said.startsWith("bash: ") ? nothing(lastWords(said)) : { passed: "untried", how: lastWords(said) };
}

/** What a tool complained of, without saying of what. */
function lastWords(said: string): string {
  return /[^:\n]*$/.exec(said)?.[0].trim() ?? "";
}

/** A process that the session starts in some way. */
function started(how: string, start: readonly string[]): Attempt {
  return {
    name: `UDP, ${how}`,
    judged: "out",
    run: (fixture) => byProcess(fixture, start, {}),
    model: plainly,
  };
}

/** What is expected of a process wherever it is: what a datagram of the member's own meets. */
function plainly(fixture: Fixture): Promise<Outcome> {
  return reach(fixture, UDP, [fixture.member, FOUR], [fixture.outside, FOUR]);
}

/** The words that have a script run; what it is to start is "$@". */
function script(text: string): string[] {
  return ["bash", "-c", text, SCRIPT];
}

/** A member's process that moves itself elsewhere, by a script that succeeds if it does. */
function moveAway(name: string, text: string, argument: (fixture: Fixture) => string): Attempt {
  return {
    name,
    judged: undefined,
    expectation: "nothing",
    async run(fixture) {
      // By a process of its own: were it to succeed, the others would be tried from the wrong place.
      const { code, said } = await fixture.member.do("run", { argv: [...script(text), argument(fixture)] });
      return code === 0 ? { passed: true, how: "the process moved" } : nothing(lastWords(said));
    },
  };
}

const MOVE = 'echo 0 >"/sys/fs/cgroup/$1/cgroup.procs"';

const CALL_MANAGER =
  "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager AttachProcessesToUnit ssau";

/** What is tried by processes of every session and cover. */
export const BY_PROCESS: readonly Attempt[] = [
  started("by a process that hears no hangup (nohup)", ["nohup"]),
  started("by a process that began a session of its own (setsid)", ["setsid", "--fork", "--wait"]),
  started("by a process that forked twice", script('( ( "$@" ) & ) & wait')),
  started(
    "from a terminal multiplexer (tmux)",
    script(
      `d=$(mktemp -d) || exit; trap 'rm -rf "$d"' EXIT; tmux -S "$d/s" -f /dev/null new-session -d "$@"`,
    ),
  ),
  started("from a user namespace of its own", ["unshare", "--user", "--map-root-user"]),
  started("from a cgroup namespace of its own", ["unshare", "--user", "--map-root-user", "--cgroup"]),
  {
    name: "UDP, from a network of the user's own making",
    judged: undefined,
    expectation: "nothing",
    run: (fixture) =>
      byProcess(fixture, ["unshare", "--user", "--map-root-user", "--net"], { before: "ip link set lo up" }),
  },
  moveAway("move to a cgroup outside", MOVE, ({ outsideCgroup }) => outsideCgroup),
  moveAway(
    "move to the user's own service manager",
    MOVE,
    ({ uid }) => `user.slice/user-${uid}.slice/user@${uid}.service/app.slice`,
  ),
  moveAway(
    "have systemd move the process to the system's units (AttachProcessesToUnit)",
    `for unit in init.scope system.slice user.slice; do
      busctl --allow-interactive-authorization=no call ${CALL_MANAGER} $unit "" 1 $$ && exit; done`,
    () => "",
  ),
];

/** Runs "$@" in a unit that something triggers, waits until it did, and takes the unit away. */
function triggered(options: string, trigger: string, unit: string): string[] {
  return script(`d=$(mktemp -d) && u=authnft-verify-$$ && >"$d/waits" || exit
    trap 'systemctl --user stop $u.${unit}; rm -rf "$d"' EXIT
    systemd-run --user --quiet --collect --unit=$u ${options} -- bash -c '"$@"; rm "$0/waits"' "$d" "$@" || exit
    ${trigger}
    for i in {1..50}; do [ -e "$d/waits" ] || break; sleep 0.02; done`);
}

/** What is tried besides where what a user runs outside of sessions is meant, and the user's service manager runs. */
export const BY_MANAGER: readonly Attempt[] = [
  managed("by a service of the user's manager (systemd-run --user)", [
    ...["systemd-run", "--user", "--quiet", "--wait", "--collect", "--pipe", "--"],
  ]),
  managed("by a process that the user's manager took over (systemd-run --user --scope)", [
    ...["systemd-run", "--user", "--quiet", "--scope", "--"],
  ]),
  managed(
    "by a service in a slice of its own (systemd-run --user --slice)",
    script(`s=authnftverify$$.slice; trap 'systemctl --user stop $s' EXIT
      systemd-run --user --quiet --wait --collect --pipe --slice=$s -- "$@"`),
  ),
  managed("by a service with cgroups of its own (systemd-run --user, Delegate=)", [
    ...["systemd-run", "--user", "--quiet", "--wait", "--collect", "--pipe", "--property=Delegate=yes", "--"],
  ]),
  managed(
    "by a timer of the user's manager",
    triggered("--on-active=1ms --timer-property=AccuracySec=1ms", ":", "timer"),
  ),
  managed(
    "by a path unit of the user's manager",
    triggered('--path-property=PathChanged="$d/go"', ': >"$d/go"', "path"),
  ),
  managed(
    "by a socket unit of the user's manager",
    // What it was started for has to be read, or it is started again.
    triggered('--socket-property=ListenFIFO="$d/go"', 'echo >"$d/go"', "socket").map((text) =>
      text.replace("bash -c '", "bash -c 'read -r -t 1 -u 3; "),
    ),
  ),
  managed(
    "by a process that a service of the user's was given (AttachProcessesToUnit)",
    script(`u=authnft-verify-$$.service; trap 'systemctl --user stop $u' EXIT
      systemd-run --user --quiet --collect --unit=$u --property=Delegate=yes sleep 3 || exit
      bash -c 'busctl --user call ${CALL_MANAGER} $0 "" 1 $$ && exec "$@"' $u "$@"`),
  ),
  managed(
    "by a service that the user's bus started (D-Bus activation)",
    // The bus looks into this directory for services that are not to stay.
    script(`d=$XDG_RUNTIME_DIR/dbus-1/services n=authnft.verify.p$$
      trap 'rm -f "$d/$n.service"' EXIT
      printf '[D-BUS Service]\\nName=%s\\nExec=/bin/bash -c "printf %%s %s >/dev/udp/127.0.0.1/%s"\\n' \\
        $n "\${@: -2:1}" "\${@: -1}" >"$d/$n.service" || exit
      busctl --user call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig || exit
      busctl --user --timeout=1 call $n / $n Ping || :`),
  ),
];

/** What stands in the table instead where the user's service manager does not run. */
export const NO_MANAGER: Attempt = leftOut("UDP, by the user's service manager", "it does not run");

function managed(how: string, start: readonly string[]): Attempt {
  return {
    name: `UDP, ${how}`,
    judged: "out",
    run: (fixture) => byProcess(fixture, start, { env: { XDG_RUNTIME_DIR: `/run/user/${fixture.uid}` } }),
    // The manager is in the host's network.
    model: plainly,
  };
}
