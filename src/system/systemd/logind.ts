// SPDX-License-Identifier: GPL-2.0-or-later
import type { Bus } from "./bus.ts";
import { BusError, objectPath, propertyValues } from "./bus_replies.ts";

const LOGIND = "org.freedesktop.login1";

/** A login session as logind knows it. */
export type LoginSession = {
  readonly id: string;
  /** The process that opened it. */
  readonly leader: number;
  readonly uid: number;
  /** The unit that its processes are in. */
  readonly scope: string;
  /** The PAM service. */
  readonly service: string;
  /** `tty`, `x11`, `wayland`, `unspecified` … */
  readonly type: string;
  /** `user`, `greeter`, `manager` … */
  readonly class: string;
};

/**
 * Asks logind which session a process is in.
 *
 * @returns `undefined` when it is in none
 * @throws {BusError}
 */
export async function sessionOfProcess(bus: Bus, pid: number): Promise<LoginSession | undefined> {
  let answer: readonly unknown[];
  try {
    answer = await bus.call(
      {
        destination: LOGIND,
        path: "/org/freedesktop/login1",
        interface: `${LOGIND}.Manager`,
        member: "GetSessionByPID",
      },
      { signature: "u", body: [pid] },
    );
  } catch (error) {
    if (error instanceof BusError && error.code === `${LOGIND}.NoSessionForPID`) return undefined;
    throw error;
  }
  const properties = await bus.call(
    {
      destination: LOGIND,
      path: objectPath(answer, "GetSessionByPID"),
      interface: "org.freedesktop.DBus.Properties",
      member: "GetAll",
    },
    { signature: "s", body: [`${LOGIND}.Session`] },
  );
  return parseSession(properties);
}

/** Reads the properties of a session. @throws {BusError} when one is missing that every session has */
export function parseSession(body: readonly unknown[]): LoginSession {
  const properties = propertyValues(body);
  const [id, leader, scope] = ["Id", "Leader", "Scope"].map((name) => properties.get(name));
  const user = properties.get("User"); // (uo)
  const uid: unknown = Array.isArray(user) ? user[0] : undefined;
  if (typeof id !== "string" || !isNumber(leader) || !isNumber(uid) || typeof scope !== "string")
    throw new BusError("logind describes a session without its id, leader, user or scope", "bus");
  const text = (name: string): string => {
    const value = properties.get(name);
    return typeof value === "string" ? value : "";
  };
  return { id, leader, uid, scope, service: text("Service"), type: text("Type"), class: text("Class") };
}

/** Whether it is what D-Bus calls an unsigned integer of 32 bits. */
function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}
