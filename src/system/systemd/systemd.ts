// SPDX-License-Identifier: GPL-2.0-or-later
import dbus, { type Variant } from "dbus-next";
import { type Arguments, Bus, BusError } from "./bus.ts";
import { addressEntries, JobEnds, listedUnits, objectPath, propertyValue } from "./bus_replies.ts";

export { BusError as SystemdError };

const SYSTEMD = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
};

/** Addresses that begin with the same bits. */
export type Prefix = {
  readonly family: "ip" | "ip6";
  /** In network order: 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** How many bits count. */
  readonly length: number;
};

/**
 * The only addresses that sockets of a unit may send to and receive from, whatever the protocol. The kernel asks a program
 * of systemd's for each packet, beside any firewall. Without an address in it, nothing passes.
 */
export type AddressLock = { readonly allow: readonly Prefix[] };

/** A unit's own lists of addresses. One that is allowed wins over one that is denied. */
export type AddressLists = AddressLock & { readonly deny: readonly Prefix[] };

/** What a transient scope is made from. */
export type Scope = {
  readonly unit: string;
  readonly slice: string;
  readonly description: string;
  /** The process that is moved into it. */
  readonly pid: number;
  /** Whether its number is still its own: asked just before systemd is given that. */
  readonly isStill: () => boolean;
  /** The unit that systemd starts when the scope has ended, for whatever reason. */
  readonly whenOver: string;
  /** The units that stop only after it when all are stopped together, as at a shutdown. */
  readonly after?: readonly string[];
  /** The addresses that it is locked to from its first moment. */
  readonly addresses?: AddressLock;
};

type Property = [name: string, value: Variant];

/** A connection to systemd over the system bus. To be held with `using`. */
export class Systemd implements Disposable {
  /** For calls to others on the same connection. */
  readonly bus: Bus;
  #listening = false;
  readonly #ends = new JobEnds();

  /** @param deadline when to give up, on the clock of `performance.now()`, in milliseconds */
  constructor(deadline: number) {
    this.bus = new Bus(deadline);
  }

  /**
   * Starts a transient scope with a process in it, and waits until systemd reports the job done.
   *
   * @throws {BusError} code `org.freedesktop.systemd1.UnitExists` when the name is taken, `gone` when the process has ended
   */
  async startScope(scope: Scope): Promise<void> {
    // A number is the same process's for both of us only where our own is.
    await this.#listen();
    if ((await this.bus.ownProcess()) !== process.pid)
      throw new BusError("process numbers are other ones for the system bus than for this program", "bus");
    if (!scope.isStill()) throw new BusError(`process ${scope.pid} has ended`, "gone");
    const properties: Property[] = [
      ["PIDs", new dbus.Variant("au", [scope.pid])],
      ["Slice", new dbus.Variant("s", scope.slice)],
      ["Description", new dbus.Variant("s", scope.description)],
      ["CollectMode", new dbus.Variant("s", "inactive-or-failed")],
      ["OnSuccess", new dbus.Variant("as", [scope.whenOver])],
      ["OnFailure", new dbus.Variant("as", [scope.whenOver])],
      ["After", new dbus.Variant("as", [...(scope.after ?? [])])],
      ...(scope.addresses === undefined ? [] : listed({ ...scope.addresses, deny: ANY })),
    ];
    await this.#job(scope.unit, "StartTransientUnit", {
      signature: "ssa(sv)a(sa(sv))",
      body: [scope.unit, "fail", properties, []],
    });
  }

  /** Starts a unit, and waits until systemd reports the job done. @throws {BusError} */
  async startUnit(unit: string, mode: "replace" | "ignore-dependencies" = "replace"): Promise<void> {
    await this.#job(unit, "StartUnit", { signature: "ss", body: [unit, mode] });
  }

  /** The service with `PAMName=` that has started a process; `undefined` when none has. @throws {BusError} */
  async pamUnitOf(pid: number): Promise<string | undefined> {
    const living = ["active", "activating", "reloading", "deactivating"];
    const member = "ListUnitsByPatterns";
    const answer = await this.bus.call(
      { ...SYSTEMD, member },
      { signature: "asas", body: [living, ["*.service"]] },
    );
    const started = await Promise.all(
      listedUnits(answer, member).map(async ({ name, path }) => {
        const property = async (name: string): Promise<unknown> =>
          propertyValue(await this.#property(path, "Service", name), name);
        if ((await property("PAMName")) === "") return [];
        return (await property("MainPID")) === pid || (await property("ControlPID")) === pid ? [name] : [];
      }),
    );
    return started.flat()[0];
  }

  /** Asks for a property of a unit. @returns the answer as it came */
  async #property(
    path: string,
    kind: "Service" | "Slice" | "Scope",
    property: string,
  ): Promise<readonly unknown[]> {
    return await this.bus.call(
      {
        destination: SYSTEMD.destination,
        path,
        interface: "org.freedesktop.DBus.Properties",
        member: "Get",
      },
      { signature: "ss", body: [`org.freedesktop.systemd1.${kind}`, property] },
    );
  }

  /** Asks systemd to stop a unit; does not wait for it. @throws {BusError} */
  async stop(unit: string): Promise<void> {
    await this.bus.call({ ...SYSTEMD, member: "StopUnit" }, { signature: "ss", body: [unit, "replace"] });
  }

  /** Locks a living unit to some addresses, in place of those it was locked to. @throws {BusError} */
  async lockAddresses(unit: string, { allow }: AddressLock): Promise<void> {
    await this.setAddressLists(unit, { allow, deny: ANY });
  }

  /** Lets a living unit's sockets reach any address again. @throws {BusError} */
  async unlockAddresses(unit: string): Promise<void> {
    // systemd 252 and 257 leave their program in the kernel, as it is, once both lists are empty.
    await this.setAddressLists(unit, { allow: ANY, deny: ANY });
  }

  /** Replaces a living unit's own lists of addresses; they are in force on return. @throws {BusError} */
  async setAddressLists(unit: string, lists: AddressLists): Promise<void> {
    const untilReboot = true;
    await this.bus.call(
      { ...SYSTEMD, member: "SetUnitProperties" },
      { signature: "sba(sv)", body: [unit, untilReboot, listed(lists)] },
    );
    // systemd answers first, and tells the kernel before it looks at the next call.
    await this.addressLists(unit, "Scope");
  }

  /** Whether a unit has lists of addresses of its own. @throws {BusError} */
  async hasAddressLists(unit: string, kind: "Slice" | "Scope" = "Slice"): Promise<boolean> {
    const { allow, deny } = await this.addressLists(unit, kind);
    return allow.length + deny.length > 0;
  }

  /** A unit's own lists of addresses. @throws {BusError} */
  async addressLists(unit: string, kind: "Slice" | "Scope"): Promise<AddressLists> {
    const path = `/org/freedesktop/systemd1/unit/${unit.replace(/[^A-Za-z0-9]/g, escaped)}`;
    const list = async (property: string): Promise<Prefix[]> => {
      return addressEntries(await this.#property(path, kind, property), property).map(
        ([family, address, length]) => ({
          family: family === FAMILIES.ip ? "ip" : "ip6",
          address: Uint8Array.from(address),
          length,
        }),
      );
    };
    const [allow, deny] = await Promise.all([list("IPAddressAllow"), list("IPAddressDeny")]);
    return { allow, deny };
  }

  /** Makes a call that answers with a job, and waits for the job's end. */
  async #job(unit: string, member: string, call: Arguments): Promise<void> {
    await this.#listen();
    const job = objectPath(await this.bus.call({ ...SYSTEMD, member }, call), member);
    const result = await this.bus.bounded(this.#ends.of(job), `systemd does not start ${unit} in time`);
    if (result !== "done")
      throw new BusError(`systemd did not start ${unit}: its job ended as "${result}"`, result);
  }

  /** A call returns before its job is done, and the job's end is announced once: one has to listen before asking. */
  async #listen(): Promise<void> {
    if (this.#listening) return;
    this.#listening = true;
    await this.bus.listen({ ...SYSTEMD, member: "JobRemoved" }, (body) => this.#ends.removed(body));
  }

  [Symbol.dispose](): void {
    this.bus[Symbol.dispose]();
  }
}

/** How systemd writes a character of a unit's name in an object path. */
function escaped(character: string): string {
  return `_${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

const ADDRESSES = "a(iayu)";
const FAMILIES = { ip: 2, ip6: 10 }; // AF_INET, AF_INET6
const ANY: readonly Prefix[] = [
  { family: "ip", address: new Uint8Array(4), length: 0 },
  { family: "ip6", address: new Uint8Array(16), length: 0 },
];

/** An empty list comes first: what is set is added to what was set before. */
function listed({ allow, deny }: AddressLists): Property[] {
  return [
    ["IPAddressAllow", addresses([])],
    ["IPAddressAllow", addresses(allow)],
    ["IPAddressDeny", addresses([])],
    ["IPAddressDeny", addresses(deny)],
  ];
}

function addresses(prefixes: readonly Prefix[]): Variant {
  return new dbus.Variant(
    ADDRESSES,
    prefixes.map(({ family, address, length }) => [FAMILIES[family], Buffer.from(address), length]),
  );
}
