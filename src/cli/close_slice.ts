// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import { closeUserSlices, usersWithSlice } from "../engine/slice/default.ts";
import { Refusal } from "../refusal.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { findUserById, GROUP } from "../system/ffi/users.ts";
import { membership } from "../system/host/membership.ts";
import { doubtAbout } from "./doubt.ts";
import { goOnConfined } from "./entry.ts";

/**
 * Takes the network from what members run outside of their sessions, until one opens. systemd runs it before it starts a
 * user's service manager, and at boot for those that run already.
 *
 * The name service is asked first: its modules may read any file and talk to any server. What it leads to is done by the
 * entry's next run.
 *
 * @param uid whose, in decimal; everybody's who has a slice now when left out
 * @returns the exit code; anything but 0 keeps the user's manager from starting
 */
export async function runCover(uid: string | undefined): Promise<number> {
  if (uid !== undefined && !/^(0|[1-9][0-9]{0,9})$/.test(uid)) {
    console.error(
      `authnft cover: ${JSON.stringify(uid)} is no user's number; systemd runs this verb, nobody else needs to.`,
    );
    return 2;
  }
  try {
    const isMember = membership();
    const members =
      uid === undefined
        ? usersWithSlice().filter((one) => isKnownMember(one, isMember))
        : [Number(uid)].filter((one) => isMemberById(one, isMember));
    if (members.length === 0) return 0;
    goOnConfined(["cover-users", ...members.map(String)]);
    return await runCoverUsers(members);
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof SystemError)) throw error;
    console.error(`authnft cover: ${error.message}`);
    return 1;
  }
}

/** Takes the network from what these members run outside of their sessions. Returns the exit code. */
export async function runCoverUsers(members: readonly number[]): Promise<number> {
  try {
    confine();
    await closeUserSlices(members);
    return 0;
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof SystemError)) throw error;
    console.error(`authnft cover: ${error.message}`);
    return 1;
  }
}

type IsMember = ReturnType<typeof membership>;

/** Of many, a user of whom it cannot be told is left alone: nobody asked about this one now. */
function isKnownMember(uid: number, isMember: IsMember): boolean {
  try {
    return isMemberById(uid, isMember);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    console.error(`authnft cover: ${error.message}`);
    return false;
  }
}

/** @throws {Refusal} `user`, when the name service fails: not to know is not "no" */
function isMemberById(uid: number, isMember: IsMember): boolean {
  if (uid === 0) return false;
  try {
    const user = findUserById(uid);
    // A user whom a silent source may know is closed like a member.
    return user !== undefined && (isMember(user) || doubtAbout(user) !== undefined);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Refusal(
      "user",
      `Cannot tell whether user ${uid} is a member of group ${GROUP}: ${error.message}; see nsswitch.conf(5).`,
    );
  }
}
