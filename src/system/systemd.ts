// SPDX-License-Identifier: GPL-2.0-or-later
import dbus, { type MessageBus } from "dbus-next";

const { Message, Variant } = dbus;

// "socket" keeps dbus-next from looking for an optional native module; the path is the one of the D-Bus specification.
const SYSTEM_BUS = "unix:socket=/run/dbus/system_bus_socket";
const SYSTEMD = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
};

/** systemd, or the bus on the way to it, did not do what it was asked. */
export class SystemdError extends Error {
  override readonly name = "SystemdError";

  constructor(
    message: string,
    /** The D-Bus error's name; "timeout" or "bus" where there is none. */
    readonly code: string,
  ) {
    super(message);
  }
}

/** What a transient scope is made from. */
export type Scope = {
  readonly unit: string;
  readonly slice: string;
  readonly description: string;
  /** The process that is moved into it. */
  readonly pid: number;
  /** The unit that systemd starts when the scope has ended, for whatever reason. */
  readonly whenOver: string;
};

/** A connection to systemd over the system bus. To be held with `using`. */
export class Systemd implements Disposable {
  readonly #bus: MessageBus;
  readonly #deadline: number;
  readonly #failure: Promise<never>;

  /** @param deadline when to give up, on the clock of `performance.now()`, in milliseconds */
  constructor(deadline: number) {
    this.#deadline = deadline;
    this.#bus = dbus.sessionBus({ busAddress: SYSTEM_BUS });
    this.#failure = new Promise((_, reject) => {
      this.#bus.on("error", (error: Error) =>
        reject(new SystemdError(`the system bus cannot be reached: ${error.message}`, "bus")),
      );
    });
    this.#failure.catch(() => undefined);
  }

  /**
   * Starts a transient scope with a process in it, and waits until systemd reports the job done.
   *
   * @throws {SystemdError} code `org.freedesktop.systemd1.UnitExists` when the name is taken
   */
  async startScope(scope: Scope): Promise<void> {
    // StartTransientUnit returns before the unit exists; the job's end is announced once, so listen before asking.
    const ended = new Map<string, string>();
    let wake = (): void => undefined;
    this.#bus.on("message", (message: dbus.Message) => {
      if (message.member !== "JobRemoved" || message.interface !== SYSTEMD.interface) return;
      ended.set(String(message.body[1]), String(message.body[3]));
      wake();
    });
    await this.#call({
      destination: "org.freedesktop.DBus",
      path: "/org/freedesktop/DBus",
      interface: "org.freedesktop.DBus",
      member: "AddMatch",
      signature: "s",
      body: [
        `type='signal',sender='${SYSTEMD.destination}',interface='${SYSTEMD.interface}',member='JobRemoved'`,
      ],
    });
    const properties = [
      ["PIDs", new Variant("au", [scope.pid])],
      ["Slice", new Variant("s", scope.slice)],
      ["Description", new Variant("s", scope.description)],
      ["CollectMode", new Variant("s", "inactive-or-failed")],
      ["OnSuccess", new Variant("as", [scope.whenOver])],
      ["OnFailure", new Variant("as", [scope.whenOver])],
    ];
    const reply = await this.#call({
      ...SYSTEMD,
      member: "StartTransientUnit",
      signature: "ssa(sv)a(sa(sv))",
      body: [scope.unit, "fail", properties, []],
    });
    const job = String(reply.body[0]);
    const result = await this.#bounded(
      new Promise<string>((resolve) => {
        wake = () => {
          const found = ended.get(job);
          if (found !== undefined) resolve(found);
        };
        wake();
      }),
      `systemd does not start ${scope.unit} in time`,
    );
    if (result !== "done")
      throw new SystemdError(`systemd did not start ${scope.unit}: its job ended as "${result}"`, result);
  }

  /** Asks systemd to stop a unit; does not wait for it. @throws {SystemdError} */
  async stop(unit: string): Promise<void> {
    await this.#call({ ...SYSTEMD, member: "StopUnit", signature: "ss", body: [unit, "replace"] });
  }

  async #call(call: ConstructorParameters<typeof Message>[0]): Promise<dbus.Message> {
    try {
      const reply = await this.#bounded(this.#bus.call(new Message(call)), `no answer to ${call?.member}`);
      if (reply === null) throw new SystemdError(`no answer to ${call?.member}`, "bus");
      return reply;
    } catch (error) {
      if (error instanceof dbus.DBusError)
        throw new SystemdError(`${call?.member}: ${error.text}`, error.type);
      throw error;
    }
  }

  async #bounded<T>(promise: Promise<T>, complaint: string): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () =>
          reject(new SystemdError(`${complaint} (the system bus or systemd is slow or stuck)`, "timeout")),
        this.#deadline - performance.now(),
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
