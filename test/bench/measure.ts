// SPDX-License-Identifier: GPL-2.0-or-later

// What is measured in a guest. What is to be compared is taken in turns, within one run.

import type { Lab } from "../lab/lab.ts";
import { ADDRESS, addOthers, FRAGMENT, fragmentOf, HOME, KINDS, type Kind, MEMBER } from "./host.ts";
import { ratio, type Spread, spread } from "./statistics.ts";

/** Figures of one kind, and how many times as large they are as those of the kind that it is compared with. */
export type Compared = Spread & { readonly ratio: number };

export type Sessions = Readonly<Record<string, { readonly open: Compared; readonly close: Compared }>>;

/** How many sessions of others are in the table. */
export const CROWDS = [0, 100, 1000] as const;

/**
 * Opens and closes sessions of these kinds.
 *
 * @param base the kind that the others are compared with
 * @returns milliseconds of pam_open_session and of pam_close_session
 */
export async function measureSessions(
  lab: Lab,
  options: { readonly kinds: readonly Kind[]; readonly base: Kind; readonly runs: number },
): Promise<Sessions> {
  const { kinds, base, runs } = options;
  // The first turn finds cold caches, and systemd's answers slow.
  const lines = (await drive(lab, "sessions", kinds, runs + 1)).slice(kinds.length);
  // With logind in the stack close may fail for a reason that is not ours: pam_systemd cannot release its session from
  // within another scope, and libpam hands that on although the line says "optional".
  const strict = kinds.filter((kind) => kind !== "loginShim").map(nameOf);
  const failed = lines.find(([name = "", , , , closed]) => closed !== "0" && strict.includes(name));
  if (failed !== undefined)
    throw new Error(`A session of ${failed[0]} was not closed: PAM says ${failed[4]}.`);
  const samples = (kind: Kind, column: number): number[] =>
    lines.filter(([name]) => name === nameOf(kind)).map((line) => Number(line[column]) / 1000);
  const compare = (kind: Kind, column: number): Compared => ({
    ...spread(samples(kind, column)),
    ratio: ratio(samples(kind, column), samples(base, column)),
  });
  return Object.fromEntries(kinds.map((kind) => [kind, { open: compare(kind, 2), close: compare(kind, 3) }]));
}

/** Runs pamtester with open_session and close_session. @returns milliseconds of a whole run */
export async function measurePamtester(
  lab: Lab,
  options: { readonly kinds: readonly Kind[]; readonly base: Kind; readonly runs: number },
): Promise<Readonly<Record<string, Compared>>> {
  const { kinds, base, runs } = options;
  const lines = (await drive(lab, "pamtester", kinds, runs + 1)).slice(kinds.length);
  const samples = (kind: Kind): number[] =>
    lines.filter(([name]) => name === nameOf(kind)).map((line) => Number(line[1]) / 1000);
  return Object.fromEntries(
    kinds.map((kind) => [kind, { ...spread(samples(kind)), ratio: ratio(samples(kind), samples(base)) }]),
  );
}

function nameOf(kind: Kind): string {
  return `${KINDS[kind].service}:${KINDS[kind].user}`;
}

/** What a session may take on the average, with what follows its end, in seconds: twice what it does on an idle machine. */
const PATIENCE = 0.25;

async function drive(
  lab: Lab,
  mode: "sessions" | "pamtester",
  kinds: readonly Kind[],
  turns: number,
): Promise<string[][]> {
  const seconds = turns * kinds.length * PATIENCE;
  const output = await lab.output(
    [`${HOME}/driver`, mode, String(turns), String(seconds), ADDRESS, ...kinds.map(nameOf)],
    { timeoutMs: 120_000 + seconds * 1000 },
  );
  return output.split("\n").map((line) => line.split(" "));
}

/** What helpers take that have done their work and are about to end, in kB. */
export interface Memory {
  /** How many there are at once. */
  readonly helpers: number;
  /** The largest resident set that one ever had, what it shares with others included; the median of the helpers. */
  readonly peak: number;
  /** All helpers together: the proportional set, where a page that n processes share counts 1/n for each. */
  readonly pss: number;
  /** All helpers together: what nobody else uses, and goes with them. */
  readonly private: number;
}

/** Looks at helpers at the end of an open and of a close. */
export async function measureMemory(
  lab: Lab,
  { helpers }: { helpers: number },
): Promise<Readonly<Record<"open" | "close", Memory>>> {
  const ids = (await lab.output(`id -u ${MEMBER} && id -g ${MEMBER}`)).split("\n");
  const output = await lab.output([`${HOME}/memory`, String(helpers), MEMBER, ...ids, ADDRESS]);
  const [open, close] = output.split("\n").map((line): Memory => {
    const [peak = 0, pss = 0, rest = 0] = line.split(" ").slice(1).map(Number);
    return { helpers, peak, pss, private: rest };
  });
  if (open === undefined || close === undefined)
    throw new Error(`Cannot read the helper's memory: ${output}`);
  return { open, close };
}

/** What a datagram and a connection cost who sends them; compared with the same while our table is switched off. */
export interface Packets {
  readonly datagram: Compared;
  readonly connection: Compared;
}

/** Whose packets they are, and what they meet. */
export type Sender =
  /** Our table is there, but dormant: its chains are not hooked. */
  | "without"
  /** A process outside the slice. */
  | "other"
  /** A process of a session. */
  | "member";

/**
 * Sends packets through the table. @param session the cgroup of a member's session; without one, there is no member
 * @returns nanoseconds of a datagram, microseconds of a connection
 */
export async function measurePackets(
  lab: Lab,
  { session, runs }: { session: string | undefined; runs: number },
): Promise<Readonly<Partial<Record<Sender, Packets>>>> {
  // The policy lets port 443 through.
  const send = `${HOME}/packets /run/netns/world 10.88.0.2 443`;
  const member =
    session === undefined
      ? ""
      : `(echo $BASHPID >/sys/fs/cgroup${session}/cgroup.procs; printf "member "; exec ${send})`;
  const script = `set -eu
    for turn in $(seq ${runs + 1}); do
      # Half a minute at most for a hundred turns, however busy the machine is; three at least.
      [ $turn -le 3 ] || [ $SECONDS -lt ${Math.ceil(runs * 0.3)} ] || break
      conntrack --flush 2>/dev/null
      nft 'add table inet authnft { flags dormant; }'; printf "without "; ${send}
      nft 'add table inet authnft'; printf "other "; ${send}
      ${member}
    done`;
  const lines = (await lab.output(script, { timeoutMs: 60_000 })).split("\n").map((line) => line.split(" "));
  const senders: Sender[] = session === undefined ? ["without", "other"] : ["without", "other", "member"];
  const samples = (sender: Sender, column: number): number[] =>
    lines
      .filter(([name]) => name === sender)
      .slice(1) // the first turn finds cold caches
      .map((line) => Number(line[column]));
  const compare = (sender: Sender, column: number, unit: number): Compared => ({
    ...spread(samples(sender, column).map((value) => value / unit)),
    ratio: ratio(samples(sender, column), samples("without", column)),
  });
  return Object.fromEntries(
    senders.map((sender) => [
      sender,
      { datagram: compare(sender, 1, 1), connection: compare(sender, 2, 1000) },
    ]),
  );
}

/** What an open does with its fragment, in the order in which test/bench/policy.ts tells it. */
export const PARTS = ["read", "compile", "lock", "nftables"] as const;

/** How much of an open a fragment takes. */
export interface PolicyShare {
  readonly rules: number;
  /** Milliseconds of the whole pam_open_session. */
  readonly open: Spread;
  /** Milliseconds of each part; the ratio is to the open. */
  readonly parts: Readonly<Record<(typeof PARTS)[number], Compared>>;
}

/** Milliseconds of `authnft check`. */
export interface CheckTime extends Spread {
  readonly files: number;
}

export interface PolicyFigures {
  readonly shares: readonly PolicyShare[];
  readonly checks: readonly CheckTime[];
}

/** Opens sessions under fragments of some lengths, and in the same turns does what they do with these. */
export async function measurePolicy(lab: Lab, { runs }: { runs: number }): Promise<PolicyFigures> {
  const uid = await lab.output(`id -u ${MEMBER}`);
  const turns = async (script: string, count: number): Promise<number[][]> => {
    const lines = await lab.output(`set -eu; for turn in $(seq ${count + 1}); do ${script}; done`, {
      timeoutMs: 300_000,
    });
    // The first turn finds cold caches.
    return lines
      .split("\n")
      .slice(1)
      .map((line) => line.split(" ").map(Number));
  };
  const shares: PolicyShare[] = [];
  for (const rules of [5, 100, 1000]) {
    await lab.fragment(MEMBER, fragmentOf(rules));
    const times = await turns(
      `open=$(${HOME}/driver sessions 1 60 ${ADDRESS} ${nameOf("shim")} | cut -d" " -f3)
       echo $open $(env -i BUN_JSC_useJIT=0 ${HOME}/policy ${MEMBER} ${uid} ${ADDRESS})`,
      runs,
    );
    if (times.some((line) => line.length !== 1 + PARTS.length || !line.every(Number.isFinite)))
      throw new Error(
        `No session opens under ${rules} rules: run "authnft check" on what fragmentOf() makes.`,
      );
    const column = (number: number): number[] => times.map((line) => (line[number] as number) / 1000);
    const part = (index: number): Compared => ({
      ...spread(column(index + 1)),
      ratio: ratio(column(index + 1), column(0)),
    });
    const parts = { read: part(0), compile: part(1), lock: part(2), nftables: part(3) };
    shares.push({ rules, open: spread(column(0)), parts });
  }
  const checks: CheckTime[] = [];
  await lab.fragment(MEMBER, fragmentOf(5));
  for (const files of [1, 1000]) {
    await lab.output(
      `for n in $(seq ${files - 1}); do cp /etc/authnft/users/${MEMBER} /etc/authnft/users/u$n; done`,
    );
    const times = await turns(
      "from=$EPOCHREALTIME; authnft check >/dev/null; echo $from $EPOCHREALTIME",
      files === 1 ? runs : Math.max(2, Math.round(runs / 3)),
    );
    const ms = times.map(([from = Number.NaN, to = Number.NaN]) => (to - from) * 1000);
    checks.push({ files, ...spread(ms) });
  }
  await lab.output("rm /etc/authnft/users/u*");
  await lab.fragment(MEMBER, FRAGMENT);
  return { shares, checks };
}

export interface Crowd {
  /** How many sessions of others are in the table. */
  readonly others: number;
  readonly sessions: Sessions;
  readonly packets: Readonly<Partial<Record<Sender, Packets>>>;
}

/** Sends packets and opens sessions while others have 0, 100, 1,000 sessions. Leaves them in the table. */
export async function measureCrowds(
  lab: Lab,
  { runs, packetRuns }: { runs: number; packetRuns: number },
): Promise<Crowd[]> {
  const crowds: Crowd[] = [];
  let present = 0;
  await using holder = lab.start([`${HOME}/driver`, "hold", ADDRESS, nameOf("shim")]);
  const session = (await holder.expect(/^(\/authnft\.slice\/.+)\n/))[1];
  for (const others of CROWDS) {
    if (others > present) await addOthers(lab, { from: present, to: others });
    present = others;
    const packets = await measurePackets(lab, { session, runs: packetRuns });
    const sessions = await measureSessions(lab, { kinds: ["floor", "shim"], base: "floor", runs });
    crowds.push({ others, sessions, packets });
  }
  holder.end();
  await holder.exited;
  return crowds;
}
