// SPDX-License-Identifier: GPL-2.0-or-later

// What a login does with its fragment, done once and timed, part by part: a program of its own in the guest, built and run
// like the helper, so that the first time in it is what a login pays.
//
//   policy USER UID ADDRESS     prints microseconds: PARTS in their order

import { compileFor, lockOf, readWhole } from "../../src/lifecycle/policy.ts";
import { FRAGMENT_DIRECTORY } from "../../src/policy/read.ts";
import { addMember } from "../../src/ruleset/members.ts";
import { baseTable } from "../../src/ruleset/table.ts";
import { addressElement, parseAddress } from "../../src/session/address.ts";
import { coverName, SLICE } from "../../src/session/scope_unit.ts";
import { inPrivateNetwork } from "../../src/system/namespace.ts";
import { runTransaction } from "../../src/system/nftables.ts";

const [name = "", uid = "", said = ""] = process.argv.slice(2);
const person = { name, uid: Number(uid) };
const address = parseAddress(said);
const path = `${FRAGMENT_DIRECTORY}/users/${name}`;

const times: number[] = [];
function timed<T>(act: () => T): T {
  const start = performance.now();
  const result = act();
  times.push((performance.now() - start) * 1000);
  return result;
}

const fragment = timed(() => readWhole(path));
const members = timed(() =>
  // For the session, and for what the user runs outside of it.
  [`session_${name}_1`, coverName(person.uid)].map((chains) => {
    const policy = compileFor(person, fragment, { path, chains, level: 2, address });
    const member = {
      name: chains,
      cgroupPath: SLICE,
      cgroupId: 1n,
      addresses: address === undefined ? [] : [addressElement(address)],
      comment: name,
      parts: policy.parts,
    };
    return { policy, member, lines: addMember(member).lines };
  }),
);
const [session] = members;
timed(() => session && lockOf(session.policy, address));

/** Loads commands behind the base table. @returns microseconds */
function load(lines: readonly string[]): number {
  return inPrivateNetwork(() => {
    runTransaction(baseTable({ closed: SLICE, users: undefined }));
    const start = performance.now();
    runTransaction(lines);
    return (performance.now() - start) * 1000;
  });
}

// What nftables takes for the rules is what a session's transaction takes more with them than without. Those who have no
// slice of their own, as in the sessions that this is compared with, have no more.
load([]); // the first time costs more
const without = load(session === undefined ? [] : addMember({ ...session.member, parts: [] }).lines);
times.push(load(session?.lines ?? []) - without);
console.log(times.map((time) => time.toFixed(0)).join(" "));
