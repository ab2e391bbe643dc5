// SPDX-License-Identifier: GPL-2.0-or-later
import { sharedIn } from "../../ruleset/shared_policy.ts";
import { ownObjectsIn, replaceSubject } from "../../ruleset/subject.ts";
import { hasRules, newestOf, type SessionRecord } from "../../subjects/session/record.ts";
import { sessionSubject } from "../../subjects/session/session.ts";
import { Level, log } from "../../system/systemd/journal.ts";
import { type Change, change } from "../change.ts";
import { addressFilterOf, type Compiled, FragmentSource } from "../compile.ts";
import { removeFile } from "../host.ts";
import { dropSpares, dropUnused, layOut } from "../shared.ts";
import { compiledForSlice, slicePolicy } from "../slice/policy.ts";
import { readPolicy, swapPolicy } from "../store.ts";
import { repairTable } from "../table.ts";
import { commit, type Piece } from "../transaction.ts";
import { fragmentOf } from "./fragment.ts";
import { lockSession, readRecord, readRecords, writeRecord } from "./records.ts";
import { widenAddressFilter } from "./scope.ts";
import { liveRecords } from "./standing.ts";

/** How long to wait for logins that change the table, in milliseconds: longer than those may take. */
const PATIENCE = 15_000;

/** How long systemd may take for each change of the address filter, in milliseconds. */
const FILTER_PATIENCE = 3000;

/** Lists the sessions that have rules now, all or a user's. */
export function liveSessions(user?: string): SessionRecord[] {
  return liveRecords().filter((record) => hasRules(record) && (user === undefined || record.user === user));
}

/**
 * Gives a live session its policy as it now stands, in one transaction; and its user's slice, if this is the session opened last.
 * On failure the old rules stay.
 *
 * While rules are replaced the address filter is wide enough for the old and the new ones.
 *
 * @param groups the user's groups that have fragments; `undefined` where they are not known
 * @returns the fragment now in force; `undefined` when the session was closed meanwhile
 * @throws {Refusal} as a login would
 */
export async function reloadSession(
  session: SessionRecord,
  groups: readonly string[] | undefined,
): Promise<string | undefined> {
  const deadline = performance.now() + PATIENCE;
  const person = { name: session.user, uid: session.uid };
  const { path } = fragmentOf({ name: person.name, groups });
  const source = new FragmentSource(path);
  const subject = sessionSubject({ ...session, fragment: path });
  const compiled = source.compileFor(subject);
  // Compiled here, needed or not: logins wait while the ruleset is locked.
  const slicePolicyOf = compiledForSlice({ ...person, open: [{ ...session, fragment: path }] }, source);
  const unit = session.scope_unit;
  const replaceRules = (record: SessionRecord, step: Change): void => {
    repairTable();
    const renewed = { ...record, generation: record.generation + 1, fragment: path };
    const open = readRecords(person).filter(({ state }) => state === "open");
    const slice =
      newestOf(open)?.scope_unit === unit
        ? slicePolicy(
            person,
            slicePolicyOf,
            open.map((one) => (one.scope_unit === unit ? renewed : one)),
            true,
          )
        : undefined;
    const pieces = [renewal(record, renewed, compiled, source), slice];
    commit(
      pieces.filter((piece) => piece !== undefined),
      step,
    );
  };
  {
    using held = await lockSession(unit, deadline);
    const record = readRecord(unit);
    if (record === undefined) removeFile(held.path); // made by us just now: the clean-up has removed the session's
    if (record?.cg_id !== session.cg_id || !hasRules(record)) return undefined;
    const lock = await widenAddressFilter(record, addressFilterOf(compiled, subject.addresses[0]), {
      patience: FILTER_PATIENCE,
    });
    try {
      await change(deadline, (step) => replaceRules(record, step));
    } catch (error) {
      await lock.putBack();
      throw error;
    }
    await lock.narrow();
  }
  source.keep();
  for (const note of compiled.notes) log({ level: Level.notice, message: `${note}.` });
  return path;
}

/** Makes the piece that replaces a session's rules. */
function renewal(
  record: SessionRecord,
  renewed: SessionRecord,
  compiled: Compiled,
  source: FragmentSource,
): Piece {
  const { scope_unit: unit } = record;
  const subject = sessionSubject(renewed);
  const before = readPolicy(unit) ?? [];
  const { subject: ruled, parts, shared, placesIn } = layOut(subject, compiled);
  const commands = replaceSubject(ruled, parts, ownObjectsIn(before, subject.id));
  const place = placesIn(commands);
  return {
    lines: commands.lines,
    ...(place !== undefined && { place }),
    ...(shared !== undefined && {
      shared,
      unshared: () => renewal(record, renewed, source.compileOwn(subject), source),
    }),
    save: () => {
      using undo = new DisposableStack();
      undo.defer(swapPolicy(unit, replaceSubject(ruled, parts, []).lines));
      writeRecord(renewed);
      undo.defer(() => writeRecord(record));
      const all = undo.move();
      return () => all.dispose();
    },
    after: () => {
      dropUnused([sharedIn(before)]);
      dropSpares();
    },
  };
}
