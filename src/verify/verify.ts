// SPDX-License-Identifier: GPL-2.0-or-later
import { slices } from "../lifecycle/table.ts";
import type { Direction } from "../ruleset/members.ts";
import { BASE_CHAINS, baseTable, TABLE } from "../ruleset/table.ts";
import { SLICE } from "../session/scope_unit.ts";
import type { User } from "../system/users.ts";
import type { Attempt, Stage } from "./attempt.ts";
import {
  ATTEMPTS,
  attempt,
  BY_MANAGER,
  elsewhere,
  fromElsewhere,
  type Orphan,
  orphaned,
} from "./attempts.ts";
import { destinations } from "./destinations.ts";
import { compareDispatch, ownElement } from "./dispatch.ts";
import { Hand } from "./hand.ts";
import { chainsOfSubject, NOBODY, refresh, type Subject } from "./targets.ts";
import { ThrowAwayCgroup } from "./throw_away.ts";
import { chainsOf, compareChains, isBad, judge, type Row, remembers, type Trial } from "./verdict.ts";

/** How long is waited for what may never come, in milliseconds: on the loopback an answer takes less than one. */
const SILENCE = 200;

/** The same before something is called a leak: a busy machine must not be able to make one. */
const LONG_SILENCE = 1000;

/** What was found of one subject. */
export type Finding = { readonly subject: string; readonly cgroup: string; readonly rows: readonly Row[] };

/** What attempts are made with. */
export type Tools = {
  /** The command that starts a probing process. */
  readonly probe: readonly string[];
  /** Told before each subject. */
  readonly progress: (title: string) => void;
  /** Stops everything when it fires. */
  readonly signal: AbortSignal;
};

/** The two networks that everything is tried in: the host's, and a private one with the rules as they were loaded. */
type Networks = {
  readonly live: Side;
  readonly model: Side;
  readonly outsideCgroup: string;
  /** A process of no session and no privilege in the private network. */
  readonly free: Hand;
};
type Side = { readonly outside: Hand; readonly network: number | undefined };

/**
 * Tries everything on some subjects, one after another.
 *
 * @throws {Error} when the trying itself does not work
 */
export async function verify(subjects: readonly Subject[], tools: Tools): Promise<Finding[]> {
  await using held = new AsyncDisposableStack();
  const outsideCgroup = held.use(new ThrowAwayCgroup("")).path;
  const start = async (network: number | "new" | undefined, user?: User): Promise<Hand> =>
    held.use(await Hand.start(tools.probe, { network, cgroup: outsideCgroup, user }));
  const live = await start(undefined);
  const apart = await start("new");
  // The members' processes are gone before their cgroups, and all of it before the function returns.
  const networks: Networks = {
    live: { outside: live, network: undefined },
    model: { outside: apart, network: apart.pid },
    outsideCgroup,
    free: await start(apart.pid, NOBODY),
  };
  // Without these nothing can be tried any more, and everything unwinds.
  const end = (): void => {
    for (const hand of [live, apart]) void hand[Symbol.asyncDispose]();
  };
  tools.signal.addEventListener("abort", end, { once: true });
  const findings: Finding[] = [];
  try {
    for (const subject of subjects) {
      tools.signal.throwIfAborted();
      tools.progress(subject.title);
      findings.push({
        subject: subject.title,
        cgroup: subject.cgroup,
        rows: await verifyPatiently(subject, networks, tools),
      });
    }
  } catch (error) {
    tools.signal.throwIfAborted();
    throw error;
  }
  return findings;
}

/** Sessions begin, end and get other rules while they are looked at. */
async function verifyPatiently(subject: Subject, networks: Networks, tools: Tools): Promise<Row[]> {
  let current = subject;
  for (let round = 1; ; round++) {
    const rows = await verifyOne(current, networks, tools).catch((error: Error): Row[] => [unknown(error)]);
    tools.signal.throwIfAborted();
    if (!rows.some(isBad)) return rows;
    const now = refresh(current);
    if (now === undefined) return [over];
    if (round === ROUNDS || isSame(current, now)) return rows;
    current = now;
  }
}

/** How often a subject is tried whose rules change meanwhile. */
const ROUNDS = 3;

const over: Row = { tried: "everything", expected: "", seen: "it ended meanwhile", verdict: "untried" };

function unknown(error: Error): Row {
  return { tried: "everything", expected: "", seen: error.message, verdict: "unknown" };
}

function isSame(one: Subject, other: Subject): boolean {
  return one.name === other.name && one.lines.join("\n") === other.lines.join("\n");
}

async function verifyOne(subject: Subject, networks: Networks, tools: Tools): Promise<Row[]> {
  await using held = new AsyncDisposableStack();
  await loadModel(subject, networks);
  const cgroup = subject.below ? held.use(new ThrowAwayCgroup(subject.cgroup)).path : subject.cgroup;
  const stageIn = async ({ outside, network }: Side): Promise<Stage> => ({
    member: held.use(await Hand.start(tools.probe, { network, cgroup, user: subject.user })),
    outside,
    outsideCgroup: networks.outsideCgroup,
    silence: SILENCE,
    uid: subject.user.uid,
  });
  const starting = [stageIn(networks.live), stageIn(networks.model)] as const;
  // Both have come or failed before anything is taken down again.
  await Promise.allSettled(starting);
  const [live, model] = await Promise.all(starting);
  const stages = { live, model, control: { ...model, member: networks.free } };
  const named = destinations(subject.lines);
  const attempts = [
    ...ATTEMPTS,
    ...named.flatMap(({ ip, port }) => [elsewhere("TCP", ip, port), elsewhere("UDP", ip, port)]),
    ...new Set(named.map(({ ip }) => ip)).values().map(fromElsewhere),
    ...(subject.managed ? BY_MANAGER : []),
    ...(subject.cgroup === SLICE ? await makeOrphans(stages, tools, held) : []),
  ];
  const rows = await tryEach(attempts, subject, stages);
  // What is bad is tried again, and more patiently: a busy machine must not be able to make a leak.
  const bad = attempts.filter((_, index) => rows[index] === undefined || isBad(rows[index]));
  const again = await tryEach(bad, subject, {
    ...stages,
    live: { ...live, silence: LONG_SILENCE },
    model: { ...model, silence: LONG_SILENCE },
  });
  const judged = attempts.flatMap((each, index) => again[bad.indexOf(each)] ?? rows[index] ?? []);
  if (remembers(subject.lines)) {
    for (const [index, each] of attempts.entries()) {
      const row = judged[index];
      if (row === undefined || each.law !== undefined || (row.verdict === "ok" && row.seen === "passes"))
        continue;
      // By itself, and with nothing used up yet in the private network: more than this the policy never lets through.
      await loadModel(subject, networks);
      const [settled] = await tryEach([each], subject, stages);
      if (settled !== undefined) judged[index] = settled;
    }
  }
  const [inForce, loaded] = await Promise.all(
    [live, model].map(async ({ outside }) => chainsOf(await outside.do("list", { table: TABLE }))),
  );
  const names = subject.cgroup === SLICE ? Object.keys(BASE_CHAINS) : chainsOfSubject(subject);
  if (names.length > 0 && inForce !== undefined && loaded !== undefined)
    judged.push(compareChains("the rules in force", names, loaded, inForce));
  return [...judged, compareDispatch(subject)];
}

/** Loads a subject's rules into the private network, as if for the first time. */
async function loadModel(subject: Subject, { model }: Networks): Promise<void> {
  await model.outside.do("load", {
    lines: [`add table ${TABLE}`, `delete table ${TABLE}`, ...baseTable(slices()), ...subject.lines],
  });
}

/** Tries all of it at once, and then what got through once more, by itself: two at once would count for each other. */
async function tryEach(attempts: readonly Attempt[], subject: Subject, stages: Stages): Promise<Row[]> {
  const closed = subject.name === undefined;
  const found = await Promise.all(attempts.map((each) => tryAll(each, subject, stages)));
  const rows: Row[] = [];
  for (const [index, trial] of found.entries()) {
    const each = attempts[index];
    if (each === undefined) continue;
    const counted =
      trial.seen.passed === true && each.judged !== undefined && !closed
        ? await isCounted(each, each.judged, subject, stages.live)
        : undefined;
    rows.push(judge({ attempt: each, closed, ...trial, counted }));
  }
  return rows;
}

type Found = Pick<Trial, "control" | "model" | "seen">;
type Stages = { readonly live: Stage; readonly model: Stage; readonly control: Stage };

/** Tries something everywhere at once; only in the host's network where the outcome does not depend on a policy. */
async function tryAll(each: Attempt, subject: Subject, stages: Stages): Promise<Found> {
  const settled = each.law !== undefined || (subject.name === undefined && each.judged !== undefined);
  const [seen, model, control] = await Promise.all([
    attempt(each.run, stages.live),
    settled ? undefined : attempt(each.model ?? each.run, stages.model),
    each.law === "nothing" ? undefined : attempt(each.model ?? each.run, stages.control),
  ]);
  return { control, seen, model };
}

/** Whether the dispatch counts an attempt when it is made again. What the session itself does meanwhile counts as well. */
async function isCounted(
  each: Attempt,
  direction: Direction,
  subject: Subject,
  stage: Stage,
): Promise<boolean> {
  const before = ownElement(subject, direction)?.counter;
  if (before === undefined) return false;
  await attempt(each.run, stage);
  const after = ownElement(subject, direction)?.counter;
  return after !== undefined && after.packets > before.packets;
}

/** Makes sockets in a cgroup below the closed slice that is gone afterwards. */
async function makeOrphans(
  stages: { readonly live: Stage; readonly model: Stage },
  tools: Tools,
  held: AsyncDisposableStack,
): Promise<Attempt[]> {
  const orphans = new Map<Hand, { readonly TCP: Orphan; readonly UDP: Orphan }>();
  {
    await using gone = new ThrowAwayCgroup(SLICE, "-gone");
    for (const { outside, outsideCgroup } of [stages.live, stages.model]) {
      const network = outside === stages.live.outside ? undefined : outside.pid;
      const hand = held.use(await Hand.start(tools.probe, { network, cgroup: gone.path, user: undefined }));
      const TCP = { hand, fd: await hand.do("socket", { family: 2, type: 1, protocol: 0 }) };
      const UDP = { hand, fd: await hand.do("socket", { family: 2, type: 2, protocol: 0 }) };
      await hand.do("move", { cgroup: outsideCgroup });
      orphans.set(outside, { TCP, UDP });
    }
  }
  return (["TCP", "UDP"] as const).map((protocol) =>
    orphaned(protocol, ({ outside }) => {
      const found = orphans.get(outside);
      if (found === undefined) throw new Error("There is no socket of a scope that is gone.");
      return found[protocol];
    }),
  );
}
