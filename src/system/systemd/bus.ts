// SPDX-License-Identifier: GPL-2.0-or-later
import dbus, { type Message, type MessageBus } from "dbus-next";
import { BusError, isSignal } from "./bus_replies.ts";

export { BusError } from "./bus_replies.ts";

// "socket" keeps dbus-next from looking for an optional native module; the path is the one of the D-Bus specification.
const SYSTEM_BUS = "unix:socket=/run/dbus/system_bus_socket";

/** The bus itself. */
const BUS = {
  destination: "org.freedesktop.DBus",
  path: "/org/freedesktop/DBus",
  interface: "org.freedesktop.DBus",
};

/** A method of an object on the bus. */
export type Method = {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
};

/** The arguments of a call, and how D-Bus writes their types. */
export type Arguments = { readonly signature: string; readonly body: readonly unknown[] };

/** A connection to the system bus. To be held with `using`. */
export class Bus implements Disposable {
  readonly #bus: MessageBus;
  readonly #deadline: number;
  readonly #failure: Promise<never>;

  /** @param deadline when to give up, on the clock of `performance.now()`, in milliseconds */
  constructor(deadline: number) {
    this.#deadline = deadline;
    this.#bus = dbus.sessionBus({ busAddress: SYSTEM_BUS });
    this.#failure = new Promise((_, reject) => {
      this.#bus.on("error", (error: Error) =>
        reject(new BusError(`the system bus cannot be reached: ${error.message}`, "bus")),
      );
    });
    this.#failure.catch(() => undefined);
  }

  /** Calls a method. @returns what it answers @throws {BusError} */
  async call(method: Method, { signature, body }: Arguments): Promise<readonly unknown[]> {
    try {
      const reply = await this.bounded(
        this.#bus.call(new dbus.Message({ ...method, signature, body: [...body] })),
        `no answer to ${method.member}`,
      );
      if (reply === null) throw new BusError(`no answer to ${method.member}`, "bus");
      return reply.body;
    } catch (error) {
      if (error instanceof dbus.DBusError) throw new BusError(`${method.member}: ${error.text}`, error.type);
      throw error;
    }
  }

  /** The number of this process as the bus sees it, which in another PID namespace is another. @throws {BusError} */
  async ownProcess(): Promise<number | undefined> {
    // The name is there once the first call has been answered.
    const [pid] = await this.call(
      { ...BUS, member: "GetConnectionUnixProcessID" },
      { signature: "s", body: [(this.#bus as unknown as { readonly name: string }).name] },
    );
    return typeof pid === "number" ? pid : undefined;
  }

  /** Has a signal heard, from now until the connection ends. @throws {BusError} */
  async listen(signal: Method, heard: (body: readonly unknown[]) => void): Promise<void> {
    this.#bus.on("message", (message: Message) => {
      if (message.type === dbus.MessageType.SIGNAL && isSignal(message, signal)) heard(message.body);
    });
    await this.call(
      { ...BUS, member: "AddMatch" },
      {
        signature: "s",
        body: [
          `type='signal',sender='${signal.destination}',path='${signal.path}',interface='${signal.interface}',member='${signal.member}'`,
        ],
      },
    );
  }

  /** Waits for something until the deadline, or until the bus is lost. @throws {BusError} */
  async bounded<T>(promise: Promise<T>, complaint: string): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () =>
          reject(
            new BusError(`${complaint} (the system bus or the service on it is slow or stuck)`, "timeout"),
          ),
        // Of a time below 0 the runtime warns on standard error, by calls that a confined process may not make.
        Math.max(0, this.#deadline - performance.now()),
      );
    });
    try {
      return await Promise.race([promise, this.#failure, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.#bus.disconnect();
  }
}
