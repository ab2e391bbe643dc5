// SPDX-License-Identifier: GPL-2.0-or-later
import type { Agent } from "./agent.ts";

/** What came of an attempt: whether it got through, and a word on how. */
export type Outcome = {
  /** `untried` where the kernel or the host does not have what it takes. */
  readonly passed: boolean | "untried";
  readonly how: string;
};

/** Where an attempt is made: a network, with a process of the session's and one from outside in it. */
export type Fixture = {
  /** In the session's cgroup, as the session's user. */
  readonly member: Agent;
  /** Root's, in a cgroup that no policy is about. */
  readonly outside: Agent;
  /** That cgroup, without a leading slash. */
  readonly outsideCgroup: string;
  /** How long an attempt waits for what may never come, in milliseconds. */
  readonly silence: number;
  /** The user whom the attempt is made as. */
  readonly uid: number;
  /** The same user's, where another policy of theirs holds; `undefined` where there is none. */
  readonly sibling: Agent | undefined;
  /** Sockets that outlived the scope that they were made in, and the process that has them; `undefined` where none were made. */
  readonly orphans:
    | Readonly<Record<"TCP" | "UDP", { readonly agent: Agent; readonly fd: number }>>
    | undefined;
};

/** Something that is tried. */
export type Attempt = {
  /** What is tried, for the table: protocol, family, direction. */
  readonly name: string;
  /** The direction whose dispatch must count it if it gets through; `undefined` where the table does not judge it. */
  readonly judged: "in" | "out" | undefined;
  /**
   * What has to come of it whatever the policy says: `held` is nothing, though it gets through where nothing of ours is;
   * `sealed` is the same where this host has the seal; `maker` where it is judged as another's.
   */
  readonly expectation?: "passes" | "nothing" | "held" | "sealed" | "maker";
  /** What is tried in the private network to learn what is expected, where that is another thing. */
  readonly model?: (fixture: Fixture) => Promise<Outcome>;
  readonly run: (fixture: Fixture) => Promise<Outcome>;
};
