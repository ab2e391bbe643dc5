// SPDX-License-Identifier: GPL-2.0-or-later

// The fragments that the tests hold, and what is said of each: printed as a table, by message.

import { compileFragment } from "../../src/policy/compile.ts";
import { readFragment } from "../../src/policy/read.ts";
import { Refusal } from "../../src/refusal.ts";
import { forSession } from "../../src/subjects/session/dialect.ts";
import { REALISTIC } from "../unit/policy/realistic.ts";
import { REFUSED } from "../unit/policy/refused.ts";

const PATH = "/etc/authnft/users/alice";

/** What is said of a fragment today; the body of its rule where it is accepted. */
function saidOf(text: string): { readonly refused: boolean; readonly said: string } {
  const options = {
    path: PATH,
    prefix: "session_alice_4711",
    level: 2,
    ...forSession({ id: 1000, name: "alice", address: { family: "ip", text: "192.0.2.7" } }),
  } as const;
  try {
    const { parts } = compileFragment(
      readFragment(PATH, () => Buffer.from(text)),
      options,
    );
    return {
      refused: false,
      said: parts.map((part) => (part.kind === "rule" ? part.body : part.definition)).join("\n"),
    };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { refused: true, said: error.message };
  }
}

/** A message without what is of one case alone: its place, and what it quotes of the fragment. */
function kindOf(message: string): string {
  return message
    .replace(/^\S+:\d+:\d+: /, "")
    .replaceAll(/"add (rule|set) inet authnft ([a-z]* ?…)"/g, "‹add $1 inet authnft $2›")
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, "…")
    .replaceAll(/…(?:\w+…)+/g, "…")
    .replaceAll(/[‹›]/g, '"');
}

type Case = { readonly text: string; readonly kind: string };

function table(title: string, cases: readonly Case[]): void {
  const groups = Map.groupBy(cases, ({ kind }) => kind);
  console.log(`${title}: ${cases.length} cases, ${groups.size} kinds`);
  for (const [kind, members] of [...groups].sort(([, one], [, other]) => other.length - one.length)) {
    console.log(`${String(members.length).padStart(5)}  ${kind}`);
    for (const { text } of members) console.log(`         ${JSON.stringify(text).slice(0, 100)}`);
  }
}

const refused = REFUSED.map(([text]) => ({ text, ...saidOf(text) }));
const accepted = REALISTIC.map(([rule]) => ({ text: rule, ...saidOf(`add rule inet authnft ${rule}`) }));
table(
  "refused",
  [...refused, ...accepted]
    .filter((one) => one.refused)
    .map(({ text, said }) => ({ text, kind: kindOf(said) })),
);
console.log();
table(
  "accepted",
  [...accepted, ...refused]
    .filter((one) => !one.refused)
    .map(({ text, said }) => ({
      text,
      kind:
        said === text.slice(text.indexOf(" ") + 1)
          ? "as it is written"
          : text.includes("$")
            ? "with what the session has put in"
            : "with accept made a goto to the chain that remembers the flow",
    })),
);
