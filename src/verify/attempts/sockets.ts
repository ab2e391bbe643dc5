// SPDX-License-Identifier: GPL-2.0-or-later

// What attempts do with the sockets of two processes.

import type { Agent } from "../agent.ts";
import type { Fixture, Outcome } from "../attempt.ts";
import type { Answer, Option, Target } from "../operation.ts";
import {
  AF_INET,
  BOTH_FAMILIES,
  type End,
  FAST_OPEN,
  type Protocol,
  SOCK_STREAM,
  TCP_FAST_OPEN,
} from "./protocols.ts";

/** How often is looked whether something came, in milliseconds. */
const INTERVAL = 10;

/** Sockets of an attempt that are closed when it is over. */
export class Sockets implements AsyncDisposable {
  readonly #open: [agent: Agent, fd: number][] = [];

  async make(agent: Agent, family: number, protocol: Protocol, ...options: Option[]): Promise<number> {
    const fd = await agent.do("socket", { family, type: protocol.type, protocol: protocol.number, options });
    return this.keep(agent, fd);
  }

  keep(agent: Agent, fd: number): number {
    this.#open.push([agent, fd]);
    return fd;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The last first: what connects goes before what listens.
    for (const [agent, fd] of this.#open.reverse()) await agent.try("close", { fd }).catch(() => undefined);
  }
}

export const PASSES: Outcome = { passed: true, how: "" };

/** Makes a word that one side sends and the other looks for. Nobody can guess it, so that nobody can bring about what is looked for. */
export function word(): string {
  return crypto.randomUUID();
}

/** Waits until something is there; an attempt that has not succeeded by then has not succeeded. */
export async function wait(fixture: Fixture, look: () => Promise<Outcome | undefined>): Promise<Outcome> {
  const end = performance.now() + fixture.silence;
  while (true) {
    const outcome = await look();
    if (outcome !== undefined) return outcome;
    if (performance.now() > end) return nothing("silence");
    await Bun.sleep(INTERVAL);
  }
}

export function nothing(how: string): Outcome {
  return { passed: false, how };
}

export function errorOf(answer: Answer): string | undefined {
  return "error" in answer ? answer.error : undefined;
}

/** Waits for a word, or what else is expected, on a socket. `sender` is asked for an error meanwhile. */
export async function hear(
  fixture: Fixture,
  expected: string | ((heard: string) => boolean),
  at: readonly [agent: Agent, fd: number],
  sender?: readonly [agent: Agent, fd: number],
): Promise<Outcome> {
  let complaint: string | undefined;
  return await wait(fixture, async () => {
    while (true) {
      const heard = await at[0].try("receive", { fd: at[1] });
      if ("error" in heard) break;
      const right = typeof expected === "string" ? heard.value.includes(expected) : expected(heard.value);
      if (right) return PASSES;
      if (heard.value === "") break;
    }
    if (sender === undefined) return undefined;
    // Asked for once, and looked at the receiver once more: an error may speak of something else.
    if (complaint !== undefined) return nothing(complaint);
    const error = await sender[0].try("error", { fd: sender[1] });
    if ("value" in error && error.value !== "OK") complaint = error.value;
    return undefined;
  });
}

/** Tries to send a connection or a datagram from one process to another. */
export async function reach(
  fixture: Fixture,
  protocol: Protocol,
  from: readonly [agent: Agent, end: End],
  to: readonly [agent: Agent, end: End],
  connected = false,
): Promise<Outcome> {
  await using sockets = new Sockets();
  const [client, near] = from;
  const [server, far] = to;
  const listener = await sockets.make(
    server,
    far.family,
    protocol,
    ...(far.own === "::" ? [BOTH_FAMILIES] : []),
  );
  const port = await server.do("bind", { fd: listener, to: { ip: far.own, port: 0 } });
  const fd = await sockets.make(
    client,
    near.family,
    protocol,
    ...(protocol === TCP_FAST_OPEN ? [FAST_OPEN] : []),
  );
  const target = { ip: near.peer, port };
  if (protocol.type === SOCK_STREAM) {
    const early = protocol === TCP_FAST_OPEN ? word() : undefined;
    return await join(fixture, sockets, [client, fd, target], [server, listener], early);
  }
  if (connected) {
    const refused = errorOf(await client.try("connect", { fd, to: target }));
    if (refused !== undefined) return nothing(refused);
  }
  return await post(fixture, [client, fd, connected ? undefined : target], [server, listener]);
}

type Sender = readonly [agent: Agent, fd: number, to: Target | undefined];
type Receiver = readonly [agent: Agent, fd: number];

/** Sends a word, and waits for it at the other end. */
export async function post(fixture: Fixture, [agent, fd, to]: Sender, receiver: Receiver): Promise<Outcome> {
  const data = word();
  const refused = errorOf(await agent.try("send", { fd, data, ...(to && { to }) }));
  if (refused !== undefined) return nothing(refused);
  return await hear(fixture, data, receiver, [agent, fd]);
}

/**
 * Connects a socket, and waits for the connection at the other end.
 *
 * @param early what is sent with the first segment, by a socket that waits for it before it connects
 */
export async function join(
  fixture: Fixture,
  sockets: Sockets,
  [agent, fd, to]: readonly [Agent, number, Target],
  [server, listener]: Receiver,
  early?: string,
): Promise<Outcome> {
  await server.do("listen", { fd: listener });
  const refused =
    errorOf(await agent.try("connect", { fd, to })) ??
    (early === undefined ? undefined : errorOf(await agent.try("send", { fd, data: early })));
  // The first segment is on its way.
  if (refused !== undefined && refused !== "EINPROGRESS") return nothing(refused);
  return await wait(fixture, async () => {
    const accepted = await server.try("accept", { fd: listener });
    if ("value" in accepted) {
      sockets.keep(server, accepted.value);
      return PASSES;
    }
    const error = await agent.try("error", { fd });
    return "value" in error && error.value !== "OK" ? nothing(error.value) : undefined;
  });
}

/** A port that is free, and will most likely be so for a moment. */
export async function freePort(agent: Agent, { type, number }: Protocol): Promise<number> {
  const fd = await agent.do("socket", { family: AF_INET, type, protocol: number });
  const port = await agent.do("bind", { fd, to: { ip: "127.0.0.1", port: 0 } });
  await agent.do("close", { fd });
  return port;
}
