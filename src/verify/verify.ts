// SPDX-License-Identifier: GPL-2.0-or-later
import { isSealed, SealedNetwork, sealState } from "../engine/seal.ts";
import { base } from "../engine/table.ts";
import type { Direction } from "../ruleset/subject.ts";
import { BASE_CHAINS, baseTable, TABLE } from "../ruleset/table.ts";
import { SLICE, USERS_SLICE } from "../subjects/session/scope_unit.ts";
import type { User } from "../system/ffi/users.ts";
import { Agent } from "./agent.ts";
import type { Attempt, Fixture, Outcome } from "./attempt.ts";
import { elsewhere, fromElsewhere } from "./attempts/elsewhere.ts";
import { orphaned } from "./attempts/handed_over.ts";
import { sharedPort } from "./attempts/ports.ts";
import { ATTEMPTS, leftOut, runAttempt } from "./attempts.ts";
import { addresses6, destinations } from "./destinations.ts";
import { BY_MANAGER, BY_PROCESS, NO_MANAGER } from "./detours.ts";
import { compareDispatch, ownElement } from "./dispatch.ts";
import { cgroupOfSibling, chainsOfSubject, isDeserted, NOBODY, refresh, type Subject } from "./targets.ts";
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
  /** How long all of it may take, in seconds; what is not tried by then is not tried. */
  readonly seconds: number;
};

/** The time that all of it has. */
class Budget implements Disposable {
  readonly #timer: ReturnType<typeof setTimeout>;
  /** What becomes of attempts that the time was too short for. */
  readonly over: Promise<Outcome>;
  isOver = false;

  constructor(seconds: number) {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.over = promise;
    this.#timer = setTimeout(() => {
      this.isOver = true;
      resolve(TOO_LATE);
    }, seconds * 1000);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

const TOO_LATE: Outcome = { passed: "untried", how: "there was no time left, see --seconds" };

/** The two networks that everything is tried in: the host's, and a private one with the rules as they were loaded. */
type Networks = {
  readonly live: Side;
  readonly model: Side;
  readonly outsideCgroup: string;
  /** A process of no session and no privilege in the private network. */
  readonly free: Agent;
};
type Side = { readonly outside: Agent; readonly network: number | undefined };

/**
 * Tries everything on some subjects, one after another.
 *
 * @throws {Error} when the trying itself does not work
 */
export async function verify(subjects: readonly Subject[], tools: Tools): Promise<Finding[]> {
  using budget = new Budget(tools.seconds);
  await using held = new AsyncDisposableStack();
  const outsideCgroup = held.use(new ThrowAwayCgroup("")).path;
  const start = async (network: number | "new" | undefined, user?: User): Promise<Agent> =>
    held.use(await Agent.start(tools.probe, { network, cgroup: outsideCgroup, user }));
  const live = await start(undefined);
  const apart = await start("new");
  // It gets a table of ours, so what is made in it is sealed as in the host's.
  held.use(new SealedNetwork(BigInt(await apart.do("cookie", {}))));
  // The members' processes are gone before their cgroups, and all of it before the function returns.
  const networks: Networks = {
    live: { outside: live, network: undefined },
    model: { outside: apart, network: apart.pid },
    outsideCgroup,
    free: await start(apart.pid, NOBODY),
  };
  // Without these nothing can be tried any more, and everything unwinds.
  const end = (): void => {
    for (const agent of [live, apart]) void agent[Symbol.asyncDispose]();
  };
  tools.signal.addEventListener("abort", end, { once: true });
  const findings: Finding[] = [];
  try {
    for (const subject of subjects) {
      tools.signal.throwIfAborted();
      if (!budget.isOver) tools.progress(subject.title);
      const rows = budget.isOver ? [tooLate] : await verifyPatiently(subject, networks, tools, budget);
      findings.push({ subject: subject.title, cgroup: subject.cgroup, rows });
    }
  } catch (error) {
    tools.signal.throwIfAborted();
    throw error;
  }
  return findings;
}

/** Sessions begin, end and get other rules while they are looked at. */
async function verifyPatiently(
  subject: Subject,
  networks: Networks,
  tools: Tools,
  budget: Budget,
): Promise<Row[]> {
  // Others were tried since it was found.
  let current = refresh(subject);
  for (let round = 1; ; round++) {
    if (current === undefined) return [over];
    const rows = await verifyOne(current, networks, tools, budget).catch((error: Error): Row[] => [
      unknown(error.message),
    ]);
    tools.signal.throwIfAborted();
    if (!rows.some(isBad)) return rows;
    if (rows.some(({ verdict }) => verdict === "unknown") && isDeserted(current)) return [over];
    const now = refresh(current);
    if (now !== undefined && isSame(current, now)) return rows;
    if (round === ROUNDS || budget.isOver)
      return [now === undefined ? over : unknown("its rules were changed each time while it was tried")];
    current = now;
  }
}

/** How often a subject is tried whose rules change meanwhile. */
const ROUNDS = 3;

const tooLate: Row = {
  tried: "everything",
  expected: "",
  seen: `untried (${TOO_LATE.how})`,
  verdict: "untried",
};

const over: Row = { tried: "everything", expected: "", seen: "it ended meanwhile", verdict: "untried" };

function unknown(seen: string): Row {
  return { tried: "everything", expected: "", seen, verdict: "unknown" };
}

function isSame(one: Subject, other: Subject): boolean {
  return (
    one.name === other.name &&
    one.version === other.version &&
    one.lines.join("\n") === other.lines.join("\n")
  );
}

async function verifyOne(subject: Subject, networks: Networks, tools: Tools, budget: Budget): Promise<Row[]> {
  await using held = new AsyncDisposableStack();
  await loadModel(subject, networks);
  const fixtures = await setStages(subject, networks, tools, held);
  const attempts = attemptsOn(subject);
  const rows = await tryEach(attempts, subject, fixtures, budget);
  // What is not as it should be is tried again, and more patiently: a busy machine must not be able to make a leak.
  const bad = attempts.filter((_, index) => {
    const row = rows[index];
    return row === undefined || isBad(row) || row.verdict === "lost";
  });
  const patient: Stages = {
    ...fixtures,
    live: { ...fixtures.live, silence: LONG_SILENCE },
    model: { ...fixtures.model, silence: LONG_SILENCE },
  };
  // A leak that there was no time to look at again remains one.
  const again = budget.isOver ? [] : await tryEach(bad, subject, patient, budget);
  const judged = attempts.flatMap((each, index) => {
    const second = again[bad.indexOf(each)];
    return second !== undefined && !budget.isOver ? second : (rows[index] ?? second ?? []);
  });
  if (remembers(subject.lines)) {
    for (const [index, each] of attempts.entries()) {
      if (budget.isOver) break;
      const row = judged[index];
      if (row === undefined || each.expectation !== undefined) continue;
      // What a process meets that was started in some way is no more than the member's own datagrams show.
      if (row.verdict === "ok" && (row.seen === "passes" || each.model !== undefined)) continue;
      // By itself, and with nothing used up yet in the private network: more than this the policy never lets through.
      await loadModel(subject, networks);
      const [settled] = await tryEach([each], subject, fixtures, budget);
      if (settled !== undefined && !budget.isOver) judged[index] = settled;
    }
  }
  const [inForce, loaded] = await Promise.all(
    [networks.live, networks.model].map(async ({ outside }) =>
      chainsOf(await outside.do("list", { table: TABLE })),
    ),
  );
  const names = subject.cgroup === SLICE ? Object.keys(BASE_CHAINS) : chainsOfSubject(subject);
  if (names.length > 0 && inForce !== undefined && loaded !== undefined)
    judged.push(compareChains("the rules in force", names, loaded, inForce));
  return [...judged, compareDispatch(subject), compareSeal(subject)];
}

/** Looks whether what stops packets that no rule has judged is there: while the rules are, no packet tells. */
function compareSeal({ cgroup }: Subject): Row {
  const state = sealState();
  const slice = cgroup
    .split("/")
    .slice(0, cgroup.startsWith(`${USERS_SLICE}/`) ? 2 : 1)
    .join("/");
  const row = { tried: "the seal below the rules", expected: "in place" };
  if (state.state === "denied")
    return { ...row, seen: `this host has none (${state.why})`, verdict: "outside" };
  const whole = isSealed(slice);
  return { ...row, seen: whole ? "in place" : `${slice} has none`, verdict: whole ? "ok" : "changed" };
}

/** Has the processes and sockets made that attempts on a subject are made with. They are gone when what holds them is. */
async function setStages(
  subject: Subject,
  networks: Networks,
  tools: Tools,
  held: AsyncDisposableStack,
): Promise<Stages> {
  const { outsideCgroup, free } = networks;
  const { user, below } = subject;
  const cgroup = below ? held.use(new ThrowAwayCgroup(subject.cgroup)).path : subject.cgroup;
  const twinCgroup = placeOfTwin(subject, held);
  const enter = async ({ network }: Side, place: string): Promise<Agent> =>
    held.use(await Agent.start(tools.probe, { network, cgroup: place, user }));
  const starting = [networks.live, networks.model].flatMap((side) => [
    enter(side, cgroup),
    // What else the user has may end at any time.
    twinCgroup === undefined ? undefined : enter(side, twinCgroup).catch(() => undefined),
  ]);
  // All have come or failed before anything is taken down again.
  await Promise.allSettled(starting);
  const [live, liveTwin, model, modelTwin] = await Promise.all(starting);
  if (live === undefined || model === undefined) throw new Error(`Nobody has entered ${cgroup}.`);
  const fixtureIn = async (side: Side, member: Agent, sibling: Agent | undefined): Promise<Fixture> => ({
    member,
    sibling,
    orphans: await makeOrphans(subject, networks, side, tools, held),
    outside: side.outside,
    outsideCgroup,
    silence: SILENCE,
    uid: user.uid,
  });
  // One after the other: both would have the same cgroup.
  const inLive = await fixtureIn(networks.live, live, liveTwin);
  const inModel = await fixtureIn(networks.model, model, modelTwin);
  return {
    live: inLive,
    model: inModel,
    // To share and to outlive is nothing that a policy would have to allow.
    control: { ...inModel, member: free, sibling: free, orphans: await socketsOf(free, held) },
  };
}

/** What is tried on a subject. */
function attemptsOn(subject: Subject): Attempt[] {
  const named = destinations(subject.lines);
  const isClosedSlice = subject.cgroup === SLICE;
  return [
    ...ATTEMPTS,
    ...named.flatMap(({ ip, port }) => [elsewhere("TCP", ip, port), elsewhere("UDP", ip, port)]),
    leftOut(
      "TCP and UDP, IPv6, out to other hosts",
      "no route leads there over the loopback; the rules are compared",
    ),
    ...new Set(named.map(({ ip }) => ip)).values().map(fromElsewhere),
    ...addresses6(subject.lines).map(fromElsewhere),
    leftOut(
      "TCP and UDP, in from other hosts",
      "over the loopback nothing arrives from another's address; the rules are compared",
    ),
    ...(isClosedSlice ? [] : [sharedPort("TCP"), sharedPort("UDP")]),
    ...BY_PROCESS,
    ...(!subject.below || isClosedSlice ? [] : subject.managed ? BY_MANAGER : [NO_MANAGER]),
    ...orphansOf(subject),
    ...(isClosedSlice
      ? [
          leftOut(
            "TCP and UDP, by sockets of a user's slice that is gone",
            "a slice would have to be put into the table for it; the dispatch is compared",
          ),
        ]
      : []),
  ];
}

/** What is tried with sockets of a scope that is gone: closed in our slice, and in a user's slice judged as its cover says. */
function orphansOf(subject: Subject): Attempt[] {
  switch (parentOfOrphans(subject)) {
    case undefined:
      return [];
    case SLICE:
      return [
        orphaned("TCP", { judged: undefined, expectation: "nothing" }),
        orphaned("UDP", { judged: undefined, expectation: "nothing" }),
      ];
    default:
      // A socket that has been connected once cannot be tried again.
      return [orphaned("UDP", { judged: "out" })];
  }
}

/** Where a scope that is gone would have been; `undefined` where that is another subject's, a cover's. */
function parentOfOrphans({ cgroup, below }: Subject): string | undefined {
  if (below) return cgroup;
  return cgroup.startsWith(`${SLICE}/`) ? SLICE : undefined;
}

/** Where another policy of the same user's holds; a cgroup is made for it where what runs outside of sessions is all there is. */
function placeOfTwin(subject: Subject, held: AsyncDisposableStack): string | undefined {
  const sibling = cgroupOfSibling(subject);
  if (sibling === undefined || !sibling.below) return sibling?.cgroup;
  try {
    return held.use(new ThrowAwayCgroup(sibling.cgroup, "-twin")).path;
  } catch {
    return undefined; // it has just gone
  }
}

/** Loads a subject's rules into the private network, as if for the first time. */
async function loadModel(subject: Subject, { model }: Networks): Promise<void> {
  await model.outside.do("load", {
    lines: [`add table ${TABLE}`, `delete table ${TABLE}`, ...baseTable(base()), ...subject.lines],
  });
}

/** Tries all of it at once, and then what got through once more, by itself: two at once would count for each other. */
async function tryEach(
  attempts: readonly Attempt[],
  subject: Subject,
  fixtures: Stages,
  budget: Budget,
): Promise<Row[]> {
  const closed = subject.name === undefined;
  const found = await Promise.all(attempts.map((each) => tryAll(each, subject, fixtures, budget)));
  const rows: Row[] = [];
  for (const [index, trial] of found.entries()) {
    const each = attempts[index];
    if (each === undefined) continue;
    const counted =
      trial.seen.passed === true && each.judged !== undefined && !closed
        ? await isCounted(each, each.judged, subject, fixtures.live, budget)
        : undefined;
    const seen = trial.model === TOO_LATE || counted === "too late" ? TOO_LATE : trial.seen;
    rows.push(
      judge({
        attempt: each,
        sealed: sealState().state === "loaded",
        closed,
        ...trial,
        seen,
        counted: counted === "too late" ? undefined : counted,
      }),
    );
  }
  return rows;
}

type Found = Pick<Trial, "control" | "model" | "seen">;
type Stages = { readonly live: Fixture; readonly model: Fixture; readonly control: Fixture };

/** Tries something everywhere at once; only in the host's network where the outcome does not depend on a policy. */
async function tryAll(each: Attempt, subject: Subject, fixtures: Stages, { over }: Budget): Promise<Found> {
  const settled = each.expectation !== undefined || (subject.name === undefined && each.judged !== undefined);
  const [seen, model, control] = await Promise.all([
    runAttempt(each.run, fixtures.live, over),
    settled ? undefined : runAttempt(each.model ?? each.run, fixtures.model, over),
    each.expectation === "nothing" ? undefined : runAttempt(each.model ?? each.run, fixtures.control, over),
  ]);
  return { control, seen, model };
}

/** Whether the dispatch counts an attempt when it is made again. What the session itself does meanwhile counts as well. */
async function isCounted(
  each: Attempt,
  direction: Direction,
  subject: Subject,
  fixture: Fixture,
  budget: Budget,
): Promise<boolean | "too late"> {
  const before = ownElement(subject, direction)?.counter;
  if (before === undefined) return false;
  await runAttempt(each.run, fixture, budget.over);
  if (budget.isOver) return "too late";
  const after = ownElement(subject, direction)?.counter;
  return after !== undefined && after.packets > before.packets;
}

/** Makes sockets in a cgroup that is gone afterwards, where one of the subject's could have been. */
async function makeOrphans(
  subject: Subject,
  { outsideCgroup }: Networks,
  { network }: Side,
  tools: Tools,
  held: AsyncDisposableStack,
): Promise<Fixture["orphans"]> {
  const parent = parentOfOrphans(subject);
  if (parent === undefined) return undefined;
  await using gone = new ThrowAwayCgroup(parent, "-gone");
  const agent = held.use(await Agent.start(tools.probe, { network, cgroup: gone.path, user: undefined }));
  const orphans = await socketsOf(agent, held);
  await agent.do("move", { cgroup: outsideCgroup });
  return orphans;
}

/** A socket of each kind, which a process has until everything is over. */
async function socketsOf(agent: Agent, held: AsyncDisposableStack): Promise<NonNullable<Fixture["orphans"]>> {
  const make = async (type: number): Promise<{ agent: Agent; fd: number }> => {
    const fd = await agent.do("socket", { family: 2, type, protocol: 0 });
    held.defer(async () => void (await agent.try("close", { fd }).catch(() => undefined)));
    return { agent, fd };
  };
  return { TCP: await make(1), UDP: await make(2) };
}
