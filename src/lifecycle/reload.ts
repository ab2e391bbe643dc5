// SPDX-License-Identifier: GPL-2.0-or-later
import { locate } from "../policy/tokenise.ts";
import { ownObjectsIn, replaceMember } from "../ruleset/members.ts";
import { addressElement, parseAddress } from "../session/address.ts";
import { hasRules, newestOf, type SessionRecord } from "../session/record.ts";
import { coverName, isLoginScope, sessionName } from "../session/scope_unit.ts";
import { Level, log } from "../system/journal.ts";
import { type Change, change } from "./change.ts";
import { openCover } from "./cover.ts";
import { cgroupId, removeFile } from "./host.ts";
import { compileFor, fragmentOf, lockOf, readWhole } from "./policy.ts";
import { widenLock } from "./scope.ts";
import { lockSession, readPolicy, readRecord, readRecords, swapPolicy, writeRecord } from "./store.ts";
import { mendTable, run, sessionComment } from "./table.ts";

/** How long to wait for logins that change the table, in milliseconds: longer than those may take. */
const PATIENCE = 15_000;

/** How long systemd may take for each change of the second lock, in milliseconds. */
const LOCK_PATIENCE = 3000;

/** The sessions that have rules now, all or a user's. */
export function liveSessions(user?: string): SessionRecord[] {
  return readRecords().filter(
    (record) =>
      hasRules(record) &&
      cgroupId(record.cg_path) === BigInt(record.cg_id) &&
      (user === undefined || record.user === user),
  );
}

/**
 * Gives a live session the policy as it now stands, in one transaction; the user's slice as well, if this is the session
 * that was opened last. Where that fails, what was in force stays.
 *
 * While rules are replaced the second lock is as wide as the old ones and the new ones need it together.
 *
 * @param groups those of the user that there are fragments for; `undefined` where they cannot be told
 * @returns the fragment that is in force now; `undefined` when the session was closed meanwhile
 * @throws {Refusal} as a login would
 */
export async function reloadSession(
  session: SessionRecord,
  groups: readonly string[] | undefined,
): Promise<string | undefined> {
  const deadline = performance.now() + PATIENCE;
  const person = { name: session.user, uid: session.uid };
  const { path } = fragmentOf({ name: person.name, groups });
  const fragment = readWhole(path);
  const address = parseAddress(session.remote_ip);
  const name = sessionName(session);
  const level = isLoginScope(session.scope_unit) ? 3 : 2;
  const policy = compileFor(person, fragment, { path, chains: name, level, address });
  // Compiled here, whether it will be needed or not: logins wait while the ruleset is locked.
  const chains = coverName(person.uid);
  const { parts } = compileFor(person, fragment, { path, chains, level: 2, address });
  const unit = session.scope_unit;
  const replaceRules = (record: SessionRecord, { undo }: Change): void => {
    mendTable();
    const generation = record.generation + 1;
    const renewed = { ...record, generation, fragment: path };
    const member = {
      name,
      cgroupPath: record.cg_path,
      cgroupId: BigInt(record.cg_id),
      generation,
      addresses: address === undefined ? [] : [addressElement(address)],
      comment: sessionComment(record),
      parts: policy.parts,
    };
    const { lines, sources } = replaceMember(member, ownObjectsIn(readPolicy(unit) ?? [], name));
    const open = readRecords(person).filter(({ state }) => state === "open");
    const cover =
      newestOf(open)?.scope_unit === unit
        ? openCover(
            person,
            parts,
            open.map((one) => (one.scope_unit === unit ? renewed : one)),
            true,
          )
        : undefined;
    undo(swapPolicy(unit, replaceMember(member, []).lines));
    if (cover !== undefined) undo(cover.save());
    writeRecord(renewed);
    undo(() => writeRecord(record));
    run([...lines, ...(cover?.lines ?? [])], (line) => {
      const part = policy.parts[sources[line] ?? -1];
      return part && locate(part.place);
    });
    cover?.seal();
  };
  {
    using held = await lockSession(unit, deadline);
    const record = readRecord(unit);
    if (record === undefined) removeFile(held.path); // ours: whoever cleaned up has removed the session's
    if (record?.cg_id !== session.cg_id || !hasRules(record)) return undefined;
    const lock = await widenLock(record, lockOf(policy, address), { patience: LOCK_PATIENCE });
    try {
      await change(deadline, (step) => replaceRules(record, step));
    } catch (error) {
      await lock.putBack();
      throw error;
    }
    await lock.narrow();
  }
  for (const note of policy.notes) log({ level: Level.notice, message: `${note}.` });
  return path;
}
