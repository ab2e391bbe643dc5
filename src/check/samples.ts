// SPDX-License-Identifier: GPL-2.0-or-later

// Fragments compiled for sample sessions, as logins would compile them.

import { type EscapedName, escapeName, inChains, RULE_LIMIT } from "../escaped_name.ts";
import { type CompileOptions, compileFragment, type Policy } from "../policy/compile.ts";
import type { Fragment } from "../policy/read.ts";
import { UnknownObject } from "../policy/refusals.ts";
import { locate } from "../policy/tokenise.ts";
import { forSession, type SessionSubject } from "../subjects/session/dialect.ts";
import type { DryRun } from "./dry_run.ts";
import type { Findings } from "./findings.ts";
import { leftOut } from "./left_out.ts";
import { type SampleKind, sessionsOf } from "./sample_kind.ts";
import type { Whole } from "./source.ts";

/** The sessions that a fragment is compiled for; the addresses are those for documentation (RFC 5737, RFC 3849). */
const SAMPLES: readonly { readonly kind: SampleKind; readonly address: SessionSubject["address"] }[] = [
  { kind: "ip", address: { family: "ip", text: "192.0.2.1" } },
  { kind: "ip6", address: { family: "ip6", text: "2001:db8::1" } },
  { kind: "none", address: undefined },
];

/** With how many fragments at most the rules are loaded twice, as a login does. They differ only in the names of their chains. */
const FEW = 20;

/** A policy with all that it was compiled with. */
type CompiledSample = DryRun & {
  readonly kind: SampleKind;
  readonly options: CompileOptions;
  readonly faults: string[];
};

/** A policy to be tried by nftables, and its fragment. */
export type Trial = DryRun & { readonly whole: Whole };

/** A policy without faults, taken over all samples, to look for what is probably unintended. */
export type Sound = { readonly whole: Whole; readonly policy: Pick<Policy, "parts" | "own"> };

/** What compiling needs to know besides the fragments. */
export type CompileContext = {
  /** Whether nftables is asked as well. */
  readonly tries: boolean;
  /** How many fragments are compiled in all. */
  readonly total: number;
  /** Looks a user up; nftables does so for names in rules. */
  readonly idOf: (name: string) => number | undefined;
};

/** Compiles fragments for all samples. */
export class Compiler {
  readonly sound: Sound[] = [];
  readonly #context: CompileContext;
  readonly #findings: Findings;
  readonly #ids = new Map<string, number | undefined>();
  #number = 0;

  constructor(context: CompileContext, findings: Findings) {
    this.#context = context;
    this.#findings = findings;
  }

  /** Compiles a fragment, reports what is wrong with it, and returns what nftables is to try. */
  compile(whole: Whole): Trial[] {
    const { target, fragment, refusals } = whole;
    const compiled = this.#samplesOf(whole);
    this.#reportFaults(whole, compiled);
    if (
      refusals.length > 0 ||
      compiled.some(({ faults }) => faults.some((text) => !text.startsWith("Cannot")))
    )
      return [];
    const sound = compiled.filter(({ faults }) => faults.length === 0);
    if (target.as !== "piece" && sound.length > 0) {
      for (const remark of leftOut(whole, compiled)) this.#findings.remark(whole, remark);
      this.sound.push({
        whole,
        policy: merged(
          fragment,
          sound.map(({ policy }) => policy),
        ),
      });
    }
    return this.#trials(fragment, sound).map((trial) => ({ ...trial, whole }));
  }

  #samplesOf(whole: Whole): CompiledSample[] {
    const { target, fragment, refusals } = whole;
    const subject = this.#subject(whole);
    const apart = usesVariable(fragment, "user_ip");
    const samples = SAMPLES.filter(
      ({ kind }) => kind === "ip" || (apart && (kind === "ip6" || !fragment.asksForAddress)),
    );
    return samples.map(({ kind, address }) => {
      const sample = { ...subject, address };
      const options: CompileOptions = {
        path: target.path,
        prefix: `session_${inChains(subject.name)}_${++this.#number}`,
        level: 2,
        ...forSession(sample),
      };
      const faults: string[] = [];
      const policy = compileFragment(fragment, options, (refusal) => {
        const placeless = refusal.message.startsWith("Cannot use the fragment ");
        // What could not be read may be what is missing here; and of a piece, what includes it.
        const elsewhere = refusal instanceof UnknownObject || placeless;
        if (elsewhere && (refusals.length > 0 || target.as === "piece")) return;
        faults.push(refusal.message);
      });
      return { kind, options, subject: sample, policy, faults };
    });
  }

  /** Reports each fault once: as an error, or as a warning where only some sessions would be refused for it. */
  #reportFaults(whole: Whole, compiled: readonly CompiledSample[]): void {
    const keys = new Set(compiled.flatMap(({ faults }) => faults.map(faultKey)));
    for (const key of keys) {
      const those = compiled.filter(({ faults }) => faults.some((fault) => faultKey(fault) === key));
      const text = those.flatMap(({ faults }) => faults.filter((fault) => faultKey(fault) === key))[0] ?? "";
      if (those.length === compiled.length || !text.startsWith("Cannot use the fragment "))
        this.#findings.remark(whole, { level: "error", text });
      else
        this.#findings.remark(whole, {
          level: "warning",
          text: text.replace(
            ": ",
            `: in ${sessionsOf(those.map(({ kind }) => kind))} the login is refused: `,
          ),
        });
    }
  }

  /**
   * Lists what a login would load: into the chains of a scope of ours, or of a login session's own, whose cgroup lies a level
   * deeper, and into those of the user's slice.
   */
  #trials(fragment: Fragment, sound: readonly CompiledSample[]): DryRun[] {
    const [first] = sound;
    if (first === undefined || !this.#context.tries) return [];
    const again = (trial: CompiledSample, change: Partial<CompileOptions>): DryRun => {
      const options = { ...trial.options, ...change };
      return { ...trial, options, policy: compileFragment(fragment, options) };
    };
    const asksForCgroup = fragment.commands.some((command) => command.some(({ text }) => text === "cgroup"));
    const deeper = asksForCgroup
      ? sound.map((trial) => again(trial, { prefix: `${trial.options.prefix}_3`, level: 3 }))
      : [];
    const slice = this.#context.total > FEW ? [] : [again(first, { prefix: `cover_${++this.#number}` })];
    return [...untried([...sound, ...deeper]), ...slice];
  }

  #subject({ target, fragment }: Whole): { readonly id: number; readonly name: EscapedName } {
    const user = target.user ?? "member";
    const name = escapeName(user, RULE_LIMIT);
    if (!this.#context.tries || !(usesVariable(fragment, "user_name") || usesVariable(fragment, "user_id")))
      return { id: 1000, name };
    // nftables looks names up; root, whom it knows, stands for users that nobody knows here.
    const id = this.#idOf(user);
    return { id: id ?? 1000, name: id === undefined ? escapeName("root") : name };
  }

  #idOf(name: string): number | undefined {
    if (!this.#ids.has(name)) this.#ids.set(name, this.#context.idOf(name));
    return this.#ids.get(name);
  }
}

/** Tells one fault from others: the prefix of names differs from sample to sample. */
function faultKey(text: string): string {
  return text.startsWith("Cannot use the fragment ") ? text.replace(/, for .*;/, ";") : text;
}

function usesVariable({ commands }: Fragment, variable: string): boolean {
  return commands.some((command) =>
    command.some(({ text }, index) => text === variable && command[index - 1]?.text === "$"),
  );
}

/** Leaves out the rules that stand in an earlier policy of the same fragment as well, and policies with no other rules. */
function untried(policies: readonly DryRun[]): DryRun[] {
  const seen = new Set<string>();
  return policies.flatMap(({ policy, ...trial }): DryRun[] => {
    const { options } = trial;
    const isNew = (part: Policy["parts"][number]): boolean => {
      const said = part.kind === "rule" ? `${part.chain} ${part.body}` : `${part.name} ${part.definition}`;
      const key = said.replaceAll(options.prefix, "");
      return !seen.has(key) && Boolean(seen.add(key));
    };
    const fresh = new Set(policy.parts.filter(isNew));
    const parts = policy.parts.filter((part) => part.kind !== "rule" || fresh.has(part));
    return fresh.size === 0 ? [] : [{ ...trial, policy: { ...policy, parts } }];
  });
}

/** Merges the compiled samples: for each command, the first sample that did not skip it. */
function merged(fragment: Fragment, policies: readonly Policy[]): Pick<Policy, "parts" | "own"> {
  const [first, ...others] = policies;
  if (first === undefined || others.length === 0) return first ?? { parts: [], own: new Map() };
  const found = policies.map(({ parts }) => Map.groupBy(parts, ({ place }) => locate(place)));
  const keys = new Set(fragment.commands.map(([verb]) => locate(verb.place)));
  const parts = [...keys].flatMap((key) => found.find((map) => map.has(key))?.get(key) ?? []);
  return { parts, own: first.own };
}
