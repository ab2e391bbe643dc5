// SPDX-License-Identifier: GPL-2.0-or-later

// Dry runs of policies in nftables, in network namespaces of their own.

import { parseAddress } from "../address.ts";
import { Crash, PATIENCE, tryApart } from "../engine/apart.ts";
import type { Policy } from "../policy/compile.ts";
import { type RenderOptions, tokenAt } from "../policy/render.ts";
import type { Place, Token } from "../policy/tokenise.ts";
import { addSubject, type Commands, subjectChain } from "../ruleset/subject.ts";
import { baseTable, TABLE } from "../ruleset/table.ts";
import type { SessionSubject } from "../subjects/session/dialect.ts";
import { SLICE } from "../subjects/session/scope_unit.ts";
import type { SubjectId } from "../subjects/subject.ts";
import { type Complaint, TransactionError } from "../system/ffi/nftables.ts";
import { cgroupId } from "../system/kernel/cgroup.ts";

/** A policy to be tried, with what it was compiled with. */
export type DryRun = {
  readonly policy: Policy;
  /** Each has a prefix of its own. */
  readonly options: RenderOptions;
  readonly subject: SessionSubject;
};

/** Something that nftables rejects, and its place in the fragment. */
export type Fault<Of extends DryRun> = {
  readonly trial: Of;
  readonly place: Place;
  readonly complaint: string;
};

/** Any cgroup that exists will do: nothing is judged by what is loaded there. */
const CGROUPS = ["init.scope", SLICE];

/**
 * How many commands are tried at once. With fewer the kernel waits for readers of old rules more often; with more, more is
 * tried again after a mistake, and the kernel follows more jumps each time.
 */
const BATCH = 500;

/** How often a batch is tried again without what nftables complained of: it tells some ten mistakes at a time. */
const ATTEMPTS = 10;

/**
 * Loads policies behind the real base table in network namespaces of their own, and says what nftables does not take.
 *
 * @param each is called for each trial that is done
 * @throws {Error} where nothing can be tried on this host
 */
export function dryRun<Of extends DryRun>(trials: readonly Of[], each: () => void): Fault<Of>[] {
  const cgroup = CGROUPS.find((path) => cgroupId(path) !== undefined);
  if (cgroup === undefined) throw new Error("the cgroups are not unified");
  const faults: Fault<Of>[] = [];
  for (const batch of batches(trials)) {
    tryBatch(batch, cgroup, faults);
    for (const _ of batch) each();
  }
  return faults;
}

function* batches<Of extends DryRun>(trials: readonly Of[]): Generator<Of[]> {
  let batch: Of[] = [];
  let commands = 0;
  for (const trial of trials) {
    batch.push(trial);
    commands += trial.policy.parts.length + 10; // those of every member
    if (commands < BATCH) continue;
    yield batch;
    batch = [];
    commands = 0;
  }
  yield batch;
}

function tryBatch<Of extends DryRun>(batch: readonly Of[], cgroup: string, faults: Fault<Of>[]): void {
  const base = baseTable({ roots: [{ cgroup, chains: "members" }] });
  let left = [...batch];
  for (let attempt = 1; left.length > 0; attempt++) {
    const lines = left.flatMap((trial) => {
      const { lines, sources } = commandsOf(trial, cgroup, left.length > 1);
      return lines.map((text, index) => ({ trial, text, source: sources[index] }));
    });
    try {
      tryApart([...base, ...lines.map(({ text }) => text)]);
      return;
    } catch (error) {
      const [one] = left;
      if (error instanceof Crash && one !== undefined) {
        if (left.length === 1) faults.push(crashing(one, error, base, cgroup));
        else for (const trial of left) tryBatch([trial], cgroup, faults);
        return;
      }
      if (!(error instanceof TransactionError)) throw error;
      const complaints = error.complaints.length > 0 ? error.complaints : [onlyLine(error)];
      const blamed = new Map<Of, Blame[]>();
      for (const complaint of complaints) {
        const line = lines[complaint.line - base.length];
        if (line === undefined) continue;
        const { trial, source, text } = line;
        blamed.set(trial, [...(blamed.get(trial) ?? []), { source, text, complaint }]);
      }
      const [only] = left;
      if (blamed.size === 0) {
        // Nobody is named. Alone, each can only mean itself.
        if (only === undefined || left.length === 1) throw error;
        for (const trial of left) tryBatch([trial], cgroup, faults);
        return;
      }
      left = left.flatMap((trial) => {
        const blames = blamed.get(trial);
        if (blames === undefined) return [trial];
        const rest = without(trial, blames, faults);
        // What is wrong in so many places is mended in some first.
        return attempt < ATTEMPTS ? rest : [];
      });
    }
  }
}

/** The part at which nftables crashes, found by loading more and fewer of those before it, as far as there is time. */
function crashing<Of extends DryRun>(
  trial: Of,
  crash: Crash,
  base: readonly string[],
  cgroup: string,
): Fault<Of> {
  const { parts } = trial.policy;
  let [well, ill] = [0, parts.length];
  let said = crash.message;
  const deadline = performance.now() + PATIENCE;
  while (ill - well > 1 && performance.now() < deadline) {
    const middle = Math.floor((well + ill) / 2);
    const first = { ...trial, policy: { ...trial.policy, parts: parts.slice(0, middle) } };
    try {
      tryApart([...base, ...commandsOf(first, cgroup, false).lines]);
      well = middle;
    } catch (error) {
      // Refused for want of what comes later is no crash.
      if (!(error instanceof Crash)) well = middle;
      else {
        ill = middle;
        said = error.message;
      }
    }
  }
  const culprit = parts[ill - 1];
  if (culprit === undefined) throw crash;
  return { trial, place: culprit.place, complaint: said };
}

type Blame = { readonly source: number | undefined; readonly text: string; readonly complaint: Complaint };

function onlyLine(error: TransactionError): Complaint {
  return { line: error.line ?? -1, offset: 0, text: error.complaint };
}

/** Notes what a policy is blamed for; what is left of it to try, if anything. */
function without<Of extends DryRun>(trial: Of, blames: readonly Blame[], faults: Fault<Of>[]): Of[] {
  const { parts } = trial.policy;
  const isObject = ({ source }: Blame): boolean => source !== undefined && parts[source]?.kind !== "rule";
  // Where an object is wrong, so is what names it.
  const told = blames.some(isObject) ? blames.filter(isObject) : blames;
  for (const { source, text, complaint } of told) {
    const part = source === undefined ? undefined : parts[source];
    if (part === undefined) throw new Error(`${complaint.text} (${text})`);
    const said = part.kind === "rule" ? part.body : part.definition;
    const bytes = Buffer.from(text).subarray(0, complaint.offset).toString().length;
    const offset = bytes - (text.length - said.length);
    const token = offset < 0 ? undefined : tokenAt(part.terms, { ...trial.options, offset });
    faults.push({
      trial,
      place: token?.place ?? part.place,
      complaint: asWritten(complaint.text, trial, token),
    });
  }
  if (told !== blames || told.some(isObject)) return [];
  const wrong = new Set(blames.map(({ source }) => source));
  const rest = parts.filter((_, index) => !wrong.has(index));
  return rest.length === 0 ? [] : [{ ...trial, policy: { ...trial.policy, parts: rest } }];
}

/** What nftables says, with the words and names that the fragment has for what it speaks of. */
function asWritten(complaint: string, { options }: DryRun, token: Token | undefined): string {
  const named = complaint.replaceAll(`${options.prefix}_`, "");
  return token?.text === "accept" ? named.replace("unexpected goto", "unexpected accept") : named;
}

/**
 * The commands that a login would load.
 *
 * @param shared whether others are tried with it: they cannot all be reached by the same cgroup, and are by a jump
 */
function commandsOf({ policy, options, subject }: DryRun, cgroup: string, shared: boolean): Commands {
  const address = parseAddress(subject.address?.text ?? "");
  const { lines, sources } = addSubject(
    {
      id: options.prefix as SubjectId,
      cgroup: { path: cgroup, id: 1n },
      addresses: address === undefined ? [] : [address],
      comment: `${subject.name} (PID:1)`,
      policy: { generation: 0 },
    },
    policy.parts,
  );
  if (!shared) return { lines, sources };
  return {
    lines: lines.map((line, index) => {
      const direction = /^add element \S+ \S+ session_(in|out) /.exec(line)?.[1];
      if (sources[index] !== undefined || direction === undefined) return line;
      return `add rule ${TABLE} members_${direction} jump ${subjectChain(options.prefix, direction)}`;
    }),
    sources,
  };
}
