// SPDX-License-Identifier: GPL-2.0-or-later

// The process that stands in for one that calls PAM, while the helper is traced: the parent that the helper insists on, and
// the one whose session is opened. It does what it is told, a line each.

import { createInterface } from "node:readline";
import type { Socket, TCPSocketListener } from "bun";
import { openPamSession } from "../system/ffi/pam.ts";
import { CGROUP_ROOT } from "../system/kernel/cgroup.ts";

/** What a stand-in may be told. */
export type Order =
  /** Starts the entry, in systemd's own cgroup, as the PAM module does. Two answers: when it has been started, and at its end. */
  | {
      readonly do: "help";
      readonly command: readonly string[];
      readonly input: string;
      /** It reads and writes a terminal. */
      readonly terminal?: boolean;
    }
  /** Opens a login session of logind's. */
  | { readonly do: "log in"; readonly directory: string; readonly service: string; readonly user: string }
  | { readonly do: "log out" }
  /** Has a TCP connection, to itself, or where the policy does not let it, a listener. */
  | { readonly do: "connect" }
  /** Leaves a process behind that does nothing. */
  | { readonly do: "leave" };

/** What it answers. */
export type Report = {
  readonly pid?: number;
  readonly code?: number;
  readonly output?: string;
  readonly error?: string;
};

const ENTER_INIT = `echo $$ >${CGROUP_ROOT}/init.scope/cgroup.procs; exec "$@"`;
const ENV = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C" };
/** How long what is left behind stays if nobody ends it, in seconds. */
const LEFT = "600";

/** Obeys commands until there are no more. @returns the exit code */
export async function runStandIn(): Promise<number> {
  const held: (TCPSocketListener | Socket)[] = [];
  let logOut = (): void => undefined;
  const obey = async (order: Order): Promise<Report> => {
    switch (order.do) {
      case "help": {
        const command = ["/bin/sh", "-c", ENTER_INIT, "sh", ...order.command];
        return order.terminal ? await onTerminal(command) : await onPipes(command, order.input);
      }
      case "log in":
        logOut = openPamSession(order);
        return {};
      case "log out":
        logOut();
        return {};
      case "connect": {
        const socket = { data: () => undefined };
        const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket });
        held.push(listener);
        const connected = Bun.connect({ hostname: "127.0.0.1", port: listener.port, socket });
        held.push(
          ...(await connected.then(
            (connection) => [connection],
            () => [],
          )),
        );
        return {};
      }
      case "leave": {
        const left = Bun.spawn(["sleep", LEFT], { env: ENV, stdio: ["ignore", "ignore", "ignore"] });
        left.unref();
        return { pid: left.pid };
      }
    }
  };
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      say(await obey(JSON.parse(line) as Order));
    } catch (error) {
      say({ error: error instanceof Error ? error.message : String(error) });
    }
  }
  return 0;
}

async function onPipes(command: readonly string[], input: string): Promise<Report> {
  const helper = Bun.spawn([...command], {
    env: ENV,
    cwd: "/",
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  say({ pid: helper.pid });
  const [code, output, errors] = await Promise.all([
    helper.exited,
    new Response(helper.stdout).text(),
    new Response(helper.stderr).text(),
  ]);
  return { code, output: output + errors };
}

async function onTerminal(command: readonly string[]): Promise<Report> {
  let output = "";
  await using terminal = new Bun.Terminal({
    data: (_, bytes) => {
      output += Buffer.from(bytes).toString();
    },
  });
  const helper = Bun.spawn([...command], { env: ENV, cwd: "/", terminal });
  say({ pid: helper.pid });
  return { code: await helper.exited, output };
}

function say(report: Report): void {
  process.stdout.write(`${JSON.stringify(report)}\n`);
}
