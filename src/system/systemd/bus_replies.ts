// SPDX-License-Identifier: GPL-2.0-or-later

// Messages from the bus, checked before use: a service may be of another version, or the sender somebody else.
// No input or output.

// sys/socket.h
const AF_INET = 2;
const AF_INET6 = 10;

/** A service on the bus, or the bus on the way to it, did not do what it was asked. */
export class BusError extends Error {
  override readonly name = "BusError";

  constructor(
    message: string,
    /** The D-Bus error's name; "timeout" or "bus" where there is none. */
    readonly code: string,
  ) {
    super(message);
  }
}

/** The fields of a message's head that identify it. */
export type Head = {
  readonly path?: string | undefined;
  readonly interface?: string | undefined;
  readonly member?: string | undefined;
  readonly destination?: string | undefined;
};

/** A signal of a service's. */
export type Signal = {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
};

/**
 * Whether a message is the signal that was asked for.
 *
 * The bus vouches for the sender of what it hands on because it was asked for. Anybody may send the same to us alone, though,
 * and that comes unasked; it is told by its destination.
 */
export function isSignal(head: Head, signal: Signal): boolean {
  return (
    (head.destination ?? "") === "" &&
    head.path === signal.path &&
    head.interface === signal.interface &&
    head.member === signal.member
  );
}

/** Returns the object that a call answers with. @throws {BusError} when it is none */
export function objectPath(body: readonly unknown[], member: string): string {
  const [path] = body;
  // The root is where a service has nothing to say.
  if (typeof path === "string" && /^(?:\/[A-Za-z0-9_]+)+$/.test(path)) return path;
  throw new BusError(`the answer to ${member} is no object's path`, "bus");
}

/** Returns the value of the property that was asked for. @throws {BusError} when there is none */
export function propertyValue(body: readonly unknown[], property: string): unknown {
  const [variant] = body;
  if (typeof variant === "object" && variant !== null && "value" in variant) return variant.value;
  throw new BusError(`the answer about ${property} is no value`, "bus");
}

/** An entry of a list of addresses, as systemd has it: the family's number, the address, how many bits of it count. */
type AddressEntry = [family: number, address: Uint8Array, length: number];

/** Returns the entries of the list of addresses that was asked for. @throws {BusError} when it is none */
export function addressEntries(body: readonly unknown[], property: string): AddressEntry[] {
  const list = propertyValue(body, property);
  if (Array.isArray(list) && list.every(isAddressEntry)) return list;
  throw new BusError(`the answer about ${property} is no list of addresses`, "bus");
}

function isAddressEntry(entry: unknown): entry is AddressEntry {
  if (!Array.isArray(entry) || entry.length !== 3) return false;
  const [family, address, length]: unknown[] = entry;
  return (
    (family === AF_INET || family === AF_INET6) &&
    address instanceof Uint8Array &&
    address.length === (family === AF_INET ? 4 : 16) &&
    Number.isInteger(length) &&
    Number(length) >= 0 &&
    Number(length) <= 8 * address.length
  );
}

/** Returns the units that a call lists, with their objects. @throws {BusError} when it lists none */
export function listedUnits(body: readonly unknown[], member: string): { name: string; path: string }[] {
  const [list] = body;
  const isUnit = (unit: unknown): unit is string[] =>
    Array.isArray(unit) && typeof unit[0] === "string" && typeof unit[6] === "string";
  if (!Array.isArray(list) || !list.every(isUnit))
    throw new BusError(`the answer to ${member} is no list of units`, "bus");
  return list.map(([name = "", , , , , , path = ""]) => ({ name, path }));
}

/** Returns the properties of an object, by their names. @throws {BusError} when there are none */
export function propertyValues(body: readonly unknown[]): ReadonlyMap<string, unknown> {
  const [properties] = body;
  if (typeof properties !== "object" || properties === null || Array.isArray(properties))
    throw new BusError("the answer is no list of properties", "bus");
  return new Map(
    Object.entries(properties).map(([name, variant]) => [name, propertyValue([variant], name)] as const),
  );
}

/** How jobs end, by their object paths. Which are ours is only known after the call, and it may have ended by then. */
export class JobEnds {
  readonly #ends = new Map<string, PromiseWithResolvers<string>>();

  /** Hears that a job is removed: its id, path, unit and result. The first word on it holds. */
  removed([, job, , result]: readonly unknown[]): void {
    if (typeof job === "string" && typeof result === "string") this.#end(job).resolve(result);
  }

  /** Tells the result of a job, when there is one. */
  of(job: string): Promise<string> {
    return this.#end(job).promise;
  }

  #end(job: string): PromiseWithResolvers<string> {
    const end = this.#ends.get(job) ?? Promise.withResolvers<string>();
    this.#ends.set(job, end);
    return end;
  }
}
