// SPDX-License-Identifier: GPL-2.0-or-later

// What a login does with its fragment, done once and timed, part by part: a program of its own in the guest, built and run
// like the helper, so that the first time in it is what a login pays.
//
//   policy USER UID ADDRESS     prints microseconds: PARTS in their order

import { addressElement, parseAddress } from "../../src/address.ts";
import { compileFor, readWhole } from "../../src/engine/compile.ts";
import { FRAGMENT_DIRECTORY } from "../../src/paths.ts";
import { addressList } from "../../src/policy/address_list.ts";
import { addSubject } from "../../src/ruleset/subject.ts";
import { baseTable } from "../../src/ruleset/table.ts";
import { SLICE } from "../../src/subjects/session/scope_unit.ts";
import { sliceId } from "../../src/subjects/slice/slice.ts";
import type { Subject, SubjectId } from "../../src/subjects/subject.ts";
import { inPrivateNetwork } from "../../src/system/ffi/namespace.ts";
import { runTransaction } from "../../src/system/ffi/nftables.ts";

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
  [`session_${name}_1` as SubjectId, sliceId(person.uid)].map((id) => {
    const subject: Subject = {
      id,
      kind: "session",
      cgroup: { path: SLICE, level: 2, id: 1n },
      variables: {
        user_ip: address && addressElement(address),
        user_id: person.uid,
        user_name: name,
      },
      addresses: address === undefined ? [] : [address],
      policy: { fragment: path, generation: 0 },
      state: "open",
      comment: name,
    };
    const policy = compileFor(subject, fragment, { own: true });
    return { policy, subject, lines: addSubject(subject, policy.parts).lines };
  }),
);
const [session] = members;
timed(() => session && addressList(session.policy, address && addressElement(address)));

/** Loads commands behind the base table. @returns microseconds */
function load(lines: readonly string[]): number {
  return inPrivateNetwork(() => {
    runTransaction(baseTable({ roots: [{ cgroup: SLICE, chains: "members" }] }));
    const start = performance.now();
    runTransaction(lines);
    return (performance.now() - start) * 1000;
  });
}

// What nftables takes for the rules is what a session's transaction takes more with them than without. Those who have no
// slice of their own, as in the sessions that this is compared with, have no more.
load([]); // the first time costs more
const without = load(session === undefined ? [] : addSubject(session.subject, []).lines);
times.push(load(session?.lines ?? []) - without);
console.log(times.map((time) => time.toFixed(0)).join(" "));
