// SPDX-License-Identifier: GPL-2.0-or-later

// Policies as a login would take them, read and compiled by the same code, and what is wrong with them.

import { type Dirent, lstatSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import {
  type EscapedName,
  escapeName,
  FILE_LIMIT,
  inChains,
  isEscapedName,
  NAME_LIMIT,
  RULE_LIMIT,
  unescapeName,
} from "../escaped_name.ts";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { type CompileOptions, compileFragment, type Policy } from "../policy/compile.ts";
import { type Diagnosis, parseComplaint } from "../policy/diagnosis.ts";
import { type Host, lint } from "../policy/lint.ts";
import { type Fragment, readFragment } from "../policy/read.ts";
import { UnknownObject } from "../policy/refusals.ts";
import { locate, type Place } from "../policy/tokenise.ts";
import { oneLine, Refusal } from "../refusal.ts";
import { shellWord } from "../shell_word.ts";
import { forSession, SESSION_DIALECT, type SessionSubject } from "../subjects/session/dialect.ts";
import type { Found } from "../subjects/session/find.ts";
import { checkOwner, isThere, readPlain, readTrusted } from "../system/host/files.ts";
import type { Trial } from "./dry_run.ts";

/** What is to be checked. */
export type CheckRequest = {
  /** Files and users; everything when empty. */
  readonly names: readonly string[];
  /** Whose fragment it is that is checked, or whom the files are for. */
  readonly user: string | undefined;
  /** The directory that a copy of the tree lies below; "" for the tree itself. */
  readonly root: string;
  /** Whether nftables is asked as well; takes root. */
  readonly tries: boolean;
  /** Is told how far the check is. */
  readonly progress: (done: number, of: number) => void;
};

/** Which fragment holds for a user; `undefined` where none does. */
export type Holding = { readonly user: string; readonly found: Found | undefined };

/** What was found. */
export type Report = {
  readonly holdings: readonly Holding[];
  /** The files that were read. */
  readonly files: readonly string[];
  /** By file and line. */
  readonly diagnoses: readonly Diagnosis[];
  /** What could not be checked, a sentence each. */
  readonly gaps: readonly string[];
  /** Whether nftables was asked. */
  readonly tried: boolean;
  readonly textOf: (file: string) => string | undefined;
  readonly nameOf: (file: string) => string;
};

/** A file or user that is not there to be checked. */
export class UnknownName extends Error {
  override readonly name = "UnknownName";
}

/** The sessions that a fragment is compiled for; the addresses are those for documentation. */
const SAMPLES: readonly { readonly kind: Kind; readonly address: SessionSubject["address"] }[] = [
  { kind: "ip", address: { family: "ip", text: "192.0.2.1" } },
  { kind: "ip6", address: { family: "ip6", text: "2001:db8::1" } },
  { kind: "none", address: undefined },
];
type Kind = "ip" | "ip6" | "none";

/** A file that is compiled: a fragment, a piece that only others could include, or a text that lies elsewhere. */
type Target = {
  readonly path: string;
  readonly as: "fragment" | "piece" | "text";
  readonly user: string | undefined;
};

/** A target with all that it includes. */
type Whole = {
  readonly target: Target;
  readonly fragment: Fragment;
  readonly refusals: readonly Refusal[];
  readonly files: ReadonlySet<string>;
  /** By file, the first place that includes it. */
  readonly includes: ReadonlyMap<string, Place>;
};

/** Of how many fragments the rules are loaded twice, as a login does. They differ only in the names of their chains. */
const FEW = 20;

/** A policy with all that it was compiled with. */
type CompiledTrial = Trial & { readonly options: CompileOptions };

type Tried = Trial & { readonly whole: Whole };

/** What editors and package managers leave beside a file. */
const LEFTOVER = /[~#]$|\.(dpkg-\w+|rpm\w+|ucf-\w+|bak|orig|rej|swp|tmp)$/;

/**
 * Checks policies.
 *
 * @throws {UnknownName} when something that was named is not there
 */
export async function check(request: CheckRequest): Promise<Report> {
  // Names are looked up for nftables only: without it, no library of the host's is needed.
  const idOf = request.tries ? (await import("../system/ffi/users.ts")).findUser : () => undefined;
  const desk = new Desk(request, (name) => idOf(name)?.uid);
  const holdings = await desk.choose();
  const trials = desk.compileAll();
  const { faults, tried } = await desk.tryAll(trials);
  for (const { trial, place, complaint } of faults) {
    desk.note(trial.whole, {
      level: "error",
      text: `${locate(place)}: nftables does not take this: ${complaint}; see nft(8).`,
    });
  }
  const { host, gap } = await hostOf(request);
  desk.lintAll(new Set(faults.map(({ trial }) => trial.whole)), host);
  if (gap !== undefined) desk.leaveOut(gap);
  if (request.root === "") await desk.noteGroups();
  return { holdings, tried, ...desk.result() };
}

/** What lies on the table while a check is made. */
class Desk {
  readonly #request: CheckRequest;
  readonly #base: string;
  #targets: Target[] = [];
  /** Where diagnoses are of interest; everywhere when `undefined`. */
  #only: Set<string> | undefined;
  readonly #texts = new Map<string, string>();
  readonly #gaps: string[] = [];
  /** What any of the files that were read includes. */
  readonly #included = new Set<string>();
  readonly #diagnoses = new Map<string, Diagnosis>();
  /** Of warnings that matter only where all agree: from how many targets they came. */
  readonly #agreed = new Map<string, number>();
  /** Compiled without complaint, with a policy for all samples. */
  readonly #linted: { readonly whole: Whole; readonly policy: Pick<Policy, "parts" | "own"> }[] = [];
  #number = 0;

  readonly #idOf: (name: string) => number | undefined;

  constructor(request: CheckRequest, idOf: (name: string) => number | undefined) {
    this.#request = request;
    this.#idOf = idOf;
    this.#base = `${request.root}${FRAGMENT_DIRECTORY}`;
    if (request.root !== "")
      this.#gaps.push(`Owners and modes are not checked below ${request.root}: a copy has its own.`);
  }

  /** Chooses what to check. */
  async choose(): Promise<Holding[]> {
    const { names, user } = this.#request;
    const holdings: Holding[] = [];
    if (names.length === 0 && user === undefined) {
      this.#chooseAll(this.#base);
      return [];
    }
    for (const name of names) {
      if (!this.#chooseFile(name)) holdings.push(await this.#holding(name));
    }
    if (user !== undefined && names.length === 0) holdings.push(await this.#holding(user));
    for (const { user, found } of holdings)
      if (found !== undefined) this.#targets.push({ path: found.path, as: "fragment", user });
    return holdings;
  }

  /** Chooses everything below a directory of the tree. */
  #chooseAll(directory: string): void {
    const paths = this.#filesBelow(directory);
    const kinds = new Map(paths.map((path) => [path, kindOf(path)]));
    const fragments = paths.filter((path) => kinds.get(path) === "fragment");
    this.#targets.push(
      ...fragments.map(
        (path): Target => ({ path, as: "fragment", user: this.#request.user ?? userOf(path) }),
      ),
    );
    const pieces = paths.filter((path) => kinds.get(path) === "piece");
    if (pieces.length > 0)
      this.#choosePieces(pieces, resolve(directory) === resolve(this.#base) ? fragments : undefined);
  }

  /** Chooses pieces through what includes them, and by themselves where nothing does. */
  #choosePieces(pieces: readonly string[], chosen: readonly string[] | undefined): void {
    const user = this.#request.user;
    const fragments = chosen ?? this.#filesBelow(this.#base).filter((path) => kindOf(path) === "fragment");
    const target = (path: string): Target => ({ path, as: "fragment", user: user ?? userOf(path) });
    const wholes = fragments.map((path) => this.#read(target(path)));
    const included = new Set(wholes.flatMap(({ includes }) => [...includes.keys()]));
    if (chosen === undefined) {
      // Of those that include it, only what they make of it is of interest.
      const through = wholes.filter(({ files }) => pieces.some((piece) => files.has(piece)));
      this.#only = new Set([...(this.#only ?? this.#targets.map(({ path }) => path)), ...pieces]);
      this.#targets.push(...through.map((whole) => whole.target));
    }
    for (const path of pieces) {
      if (included.has(path)) continue;
      this.#targets.push({ path, as: "piece", user });
    }
  }

  #filesBelow(directory: string): string[] {
    let entries: Dirent[];
    try {
      entries = readdirSync(directory, { recursive: true, withFileTypes: true });
    } catch (error) {
      throw new UnknownName(
        `Cannot look into ${directory}: ${(error as NodeJS.ErrnoException).code}; run "authnft install", or name files.`,
      );
    }
    return entries
      .flatMap((entry) => {
        if (entry.isDirectory()) return [];
        const path = this.#named(join(entry.parentPath, entry.name));
        if (path === undefined || entry.name.startsWith(".")) return [];
        if (kindOf(path) !== "leftover") return [path];
        const escaped = escapedOf(path);
        this.#addWhole({
          level: "warning",
          file: path,
          text: `this is nobody's fragment, by its name, and was not checked; ${escaped === undefined ? "remove it, or rename it" : `remove it, or call it ${shellWord(escaped)} if ${JSON.stringify(oneLine(basename(path)))} is whose it is`}`,
        });
        return [];
      })
      .sort();
  }

  /** The name that a file of the tree has where the tree is no copy; `undefined` for a file elsewhere. */
  #named(path: string): string | undefined {
    const base = resolve(this.#base);
    const whole = resolve(path);
    return whole.startsWith(`${base}/`) ? `${FRAGMENT_DIRECTORY}${whole.slice(base.length)}` : undefined;
  }

  /** Chooses a file by its name; false when it must be a user's. */
  #chooseFile(name: string): boolean {
    const { user } = this.#request;
    const known = this.#named(name);
    const stat = isFileName(name) ? lstatSync(name, { throwIfNoEntry: false }) : undefined;
    if (!name.includes("/") && (stat === undefined || isThere(`${this.#base}/users/${escapeName(name)}`)))
      return false;
    if (stat === undefined) throw new UnknownName(`There is no file ${oneLine(name)} to check.`);
    if (stat.isDirectory()) {
      if (known === undefined && resolve(name) !== resolve(this.#base))
        throw new UnknownName(
          `Cannot check ${oneLine(name)}: it is a directory other than ${this.#base}; name files, or the tree that it is a copy of with --root.`,
        );
      this.#chooseAll(name);
      return true;
    }
    if (known === undefined) this.#targets.push({ path: name, as: "text", user });
    else if (kindOf(known) === "piece") this.#choosePieces([known], undefined);
    else this.#targets.push({ path: known, as: "fragment", user: user ?? userOf(known) });
    return true;
  }

  /** Which fragment holds for a user. That there is none is what a login would refuse, and noted. */
  async #holding(name: string): Promise<Holding> {
    const { root } = this.#request;
    const exists = (path: string): boolean => isThere(`${root}${path}`);
    const { findUser } = await import("../system/ffi/users.ts");
    const { groupFragments, groupFiles } = await import("./groups.ts");
    const { findFragment } = await import("../subjects/session/find.ts");
    const user = findUser(name);
    const own = name !== "" && exists(`${FRAGMENT_DIRECTORY}/users/${escapeName(name)}`);
    if (user === undefined && !own) {
      throw new UnknownName(
        `There is no file and no user ${JSON.stringify(oneLine(name))} to check; a file in this directory is named with "./" before it.`,
      );
    }
    const groups = user === undefined ? [] : groupFiles(user, groupFragments(root));
    const seeker = { name: user?.name ?? name, groups };
    try {
      return { user: seeker.name, found: findFragment(seeker, exists) };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const file = `${FRAGMENT_DIRECTORY}/users/${escapeName(seeker.name)}`;
      this.#only?.add(file);
      this.#addWhole({ level: "error", file, text: error.message });
      return { user: seeker.name, found: undefined };
    }
  }

  /** Reads and compiles everything. */
  compileAll(): Tried[] {
    const total = this.#targets.length;
    return this.#targets.flatMap((target, index) => {
      this.#request.progress(index, total);
      return this.#compile(this.#read(target));
    });
  }

  #read(target: Target): Whole {
    const refusals: Refusal[] = [];
    const files = new Set<string>();
    const includes = new Map<string, Place>();
    const fragment = readFragment(
      target.path,
      (path, sizeLimit, from) => {
        files.add(path);
        if (from !== undefined && !includes.has(path)) includes.set(path, from);
        const bytes = this.#readFile(path, sizeLimit, from);
        this.#texts.set(
          path,
          Buffer.from(bytes)
            .toString()
            .replace(/^\ufeff/, ""),
        );
        return bytes;
      },
      (refusal) => refusals.push(refusal),
    );
    for (const path of includes.keys()) this.#included.add(path);
    return { target, fragment, refusals, files, includes };
  }

  #readFile(path: string, sizeLimit: number, from: Place | undefined): Uint8Array {
    const inside = path.startsWith(`${FRAGMENT_DIRECTORY}/`);
    try {
      if (inside && this.#request.root === "")
        return readTrusted(path, { top: FRAGMENT_DIRECTORY, sizeLimit });
      return readPlain(inside ? `${this.#request.root}${path}` : path, { sizeLimit });
    } catch (error) {
      if (!(error instanceof Refusal) || from === undefined) throw error;
      const why = error.message.replace(/^Cannot read fragment .*?: /, "").replace(/\.$/, "");
      const cause = error.reason === "missing" ? "there is none; write it, or take this line out" : why;
      throw new Refusal(error.reason, `${locate(from)}: cannot include ${path}: ${cause}.`);
    }
  }

  /** Compiles a whole for all samples, and notes what is wrong with it. */
  #compile(whole: Whole): Tried[] {
    const { target, fragment, refusals } = whole;
    for (const { message } of refusals) this.note(whole, { level: "error", text: message });
    if (target.as === "text") this.#noteText(whole);
    const subject = this.#subject(whole);
    const apart = speaksOf(fragment, "user_ip");
    const samples = SAMPLES.filter(
      ({ kind }) => kind === "ip" || (apart && (kind === "ip6" || !fragment.asksForAddress)),
    );
    const compiled = samples.map(({ kind, address }) => {
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
    const all = new Set(compiled.flatMap(({ faults }) => faults.map(faultKey)));
    for (const key of all) {
      const those = compiled.filter(({ faults }) => faults.some((fault) => faultKey(fault) === key));
      const text = those.flatMap(({ faults }) => faults.filter((fault) => faultKey(fault) === key))[0] ?? "";
      if (those.length === compiled.length || !text.startsWith("Cannot use the fragment "))
        this.note(whole, { level: "error", text });
      else
        this.note(whole, {
          level: "warning",
          text: text.replace(
            ": ",
            `: in ${sessionsOf(those.map(({ kind }) => kind))} the login is refused: `,
          ),
        });
    }
    if (
      refusals.length > 0 ||
      compiled.some(({ faults }) => faults.some((text) => !text.startsWith("Cannot")))
    )
      return [];
    const sound = compiled.filter(({ faults }) => faults.length === 0);
    if (target.as !== "piece" && sound.length > 0) {
      this.#noteLeftOut(whole, compiled);
      this.#linted.push({
        whole,
        policy: together(
          fragment,
          sound.map(({ policy }) => policy),
        ),
      });
    }
    return this.#trials(fragment, sound).map((trial) => ({ ...trial, whole }));
  }

  /**
   * What a login would load: into the chains of a scope of ours, or of a login session's own, whose cgroup lies a level
   * deeper, and into those of what the user runs outside of sessions.
   */
  #trials(fragment: Fragment, sound: readonly CompiledTrial[]): Trial[] {
    const [first] = sound;
    if (first === undefined || !this.#request.tries) return [];
    const again = (trial: CompiledTrial, change: Partial<CompileOptions>): Trial => {
      const options = { ...trial.options, ...change };
      return { ...trial, options, policy: compileFragment(fragment, options) };
    };
    const asksForCgroup = fragment.commands.some((command) => command.some(({ text }) => text === "cgroup"));
    const deeper = asksForCgroup
      ? sound.map((trial) => again(trial, { prefix: `${trial.options.prefix}_3`, level: 3 }))
      : [];
    const cover = this.#targets.length > FEW ? [] : [again(first, { prefix: `cover_${++this.#number}` })];
    return [...untried([...sound, ...deeper]), ...cover];
  }

  #subject({ target, fragment }: Whole): { readonly id: number; readonly name: EscapedName } {
    const user = target.user ?? "member";
    const name = escapeName(user, RULE_LIMIT);
    if (!this.#request.tries || !(speaksOf(fragment, "user_name") || speaksOf(fragment, "user_id")))
      return { id: 1000, name };
    // nftables looks names up; one that it knows stands for those whom nobody knows here.
    const id = this.#known(user);
    return { id: id ?? 1000, name: id === undefined ? escapeName("root") : name };
  }

  readonly #ids = new Map<string, number | undefined>();
  #known(name: string): number | undefined {
    if (!this.#ids.has(name)) this.#ids.set(name, this.#idOf(name));
    return this.#ids.get(name);
  }

  /** What a login would say of a text if it lay where it is. */
  #noteText(whole: Whole): void {
    const { path } = whole.target;
    const stat = lstatSync(path, { throwIfNoEntry: false });
    const texts = [
      `${path} is not below ${this.#base}, where logins look for fragments; put it there once it is right.`,
    ];
    try {
      if (stat !== undefined) checkOwner(path, path, stat);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      texts.push(error.message);
    }
    for (const text of texts) this.note(whole, { level: "warning", text });
  }

  /** Warns about what is left out for want of an address, once where a twin for the other family stands beside it. */
  #noteLeftOut(whole: Whole, compiled: readonly { readonly kind: Kind; readonly policy: Policy }[]): void {
    const left = new Map<string, { readonly what: string; readonly place: Place; kinds: Set<Kind> }>();
    for (const { kind, policy } of compiled) {
      for (const note of policy.notes) {
        const { place, message } = parseComplaint(note, whole.files);
        if (place === undefined) continue;
        const key = locate(place);
        const what = /^the (\w+)/.exec(message)?.[1] ?? "rule";
        const found = left.get(key) ?? { what, place, kinds: new Set<Kind>() };
        found.kinds.add(kind);
        left.set(key, found);
      }
    }
    const twins = new Map<string, { kinds: Set<Kind> }>();
    for (const command of whole.fragment.commands) {
      const one = left.get(locate(command[0].place));
      if (one === undefined) continue;
      const text = command.map((token) => (token.text === "ip6" ? "ip" : token.text)).join(" ");
      const twin = twins.get(text);
      if (twin === undefined) {
        twins.set(text, one);
        continue;
      }
      twin.kinds = twin.kinds.intersection(one.kinds);
      left.delete(locate(one.place));
    }
    const groups = Map.groupBy(left.values(), ({ what, kinds }) => `${what} ${[...kinds].sort()}`);
    for (const [first, ...more] of groups.values()) {
      if (first === undefined || first.kinds.size === 0) continue;
      const { what, place, kinds } = first;
      const where = kinds.size === compiled.length ? "every session" : sessionsOf([...kinds]);
      const these =
        more.length === 0
          ? `this ${what} is left out: it needs`
          : `this ${what} and ${more.length} more are left out: they need`;
      this.note(whole, {
        level: "warning",
        text: `${locate(place)}: in ${where} ${these} $user_ip, which is not known there; write a rule for such sessions, or refuse them with "# require address".`,
      });
    }
  }

  /** Asks nftables. */
  async tryAll(
    trials: readonly Tried[],
  ): Promise<{ faults: { trial: Tried; place: Place; complaint: string }[]; tried: boolean }> {
    if (!this.#request.tries) {
      this.#gaps.push("Only the syntax was checked: nftables can be asked only by root.");
      return { faults: [], tried: false };
    }
    try {
      const { tryOut } = await import("./dry_run.ts");
      let done = 0;
      return {
        faults: tryOut(trials, () => this.#request.progress(++done, trials.length)),
        tried: true,
      };
    } catch (error) {
      this.#gaps.push(
        `Only the syntax was checked: nftables cannot be asked here: ${oneLine((error as Error).message)}; run "authnft doctor".`,
      );
      return { faults: [], tried: false };
    }
  }

  /** Looks for what is hardly meant in everything that is not wrong. */
  lintAll(wrong: ReadonlySet<Whole>, host: Host): void {
    const sound = this.#linted.filter(({ whole }) => !wrong.has(whole));
    const readers = new Map<string, number>();
    for (const { whole } of sound)
      for (const file of whole.files) readers.set(file, (readers.get(file) ?? 0) + 1);
    for (const { whole, policy } of sound) {
      for (const { place, message, advice, shared } of lint(policy, host, SESSION_DIALECT)) {
        const key = `${locate(place)} ${message}`;
        const agreed = (this.#agreed.get(key) ?? 0) + 1;
        this.#agreed.set(key, agreed);
        if (shared && agreed < (readers.get(place.file) ?? 1)) continue;
        this.#add({
          level: "warning",
          ...placed(place),
          message,
          advice,
          included: includedBy(place.file, whole),
        });
      }
    }
  }

  /** Notes a message of the house about a whole. */
  note(whole: Whole, { level, text }: { readonly level: Diagnosis["level"]; readonly text: string }): void {
    const { place, message, advice } = parseComplaint(text, whole.files);
    const file = place?.file ?? whole.target.path;
    this.#add({
      level,
      ...(place === undefined ? { file, line: undefined, column: undefined } : placed(place)),
      message: withoutAct(message),
      advice,
      included: includedBy(file, whole),
    });
  }

  /** Adds a sentence about a whole file. */
  #addWhole({
    level,
    file,
    text,
  }: {
    readonly level: Diagnosis["level"];
    readonly file: string;
    readonly text: string;
  }): void {
    const { message, advice } = parseComplaint(text, []);
    this.#add({
      level,
      file,
      line: undefined,
      column: undefined,
      message: withoutAct(message),
      advice,
      included: [],
    });
  }

  #add(diagnosis: Diagnosis): void {
    const { level, file, line, column, message } = diagnosis;
    if (this.#only !== undefined && !this.#only.has(file)) return;
    const key = `${level} ${file}:${line}:${column} ${message}`;
    if (!this.#diagnoses.has(key)) this.#diagnoses.set(key, diagnosis);
  }

  /** Notes what could not be checked. */
  leaveOut(gap: string): void {
    this.#gaps.push(gap);
  }

  /** Warns about fragments of groups that there are not. */
  async noteGroups(): Promise<void> {
    const names = this.#targets.flatMap(({ path, as }) => {
      const name = /^\/etc\/authnft\/groups\/([^/]+)$/.exec(path)?.[1];
      return name === undefined || as !== "fragment" || this.#included.has(path) ? [] : [{ path, name }];
    });
    if (names.length === 0) return;
    const { findGroup } = await import("../system/ffi/users.ts");
    for (const { path, name: file } of names) {
      const name = unescapeName(file, FILE_LIMIT) ?? file;
      try {
        if (findGroup(name) !== undefined) continue;
      } catch {
        continue; // the name service does not tell
      }
      this.#add({
        level: "warning",
        file: path,
        line: undefined,
        column: undefined,
        message: `there is no group ${JSON.stringify(name)}, so this is nobody's fragment unless another file includes it`,
        advice: "name it after a group, or make the group",
        included: [],
      });
    }
  }

  result(): Pick<Report, "files" | "diagnoses" | "gaps" | "textOf" | "nameOf"> {
    const diagnoses = [...this.#diagnoses.values()].sort(
      (one, other) =>
        (one.file < other.file ? -1 : one.file > other.file ? 1 : 0) ||
        (one.line ?? 0) - (other.line ?? 0) ||
        (one.column ?? 0) - (other.column ?? 0),
    );
    return {
      files: [...new Set([...this.#targets.map(({ path }) => path), ...this.#texts.keys()])].sort(),
      diagnoses,
      gaps: this.#gaps,
      textOf: (file) => this.#texts.get(file),
      nameOf: (file) => (file.startsWith(`${FRAGMENT_DIRECTORY}/`) ? `${this.#request.root}${file}` : file),
    };
  }
}

/** What is wrong, where the file is named anyway. */
function withoutAct(message: string): string {
  return message.replace(/^Cannot (read|use the) fragment .*?: /, "");
}

function placed({ file, line, column }: Place): Pick<Diagnosis, "file" | "line" | "column"> {
  return { file, line, column };
}

/** The prefix of names differs from sample to sample. */
function faultKey(text: string): string {
  return text.startsWith("Cannot use the fragment ") ? text.replace(/, for .*;/, ";") : text;
}

/** Where a file is included, from the inside out. */
function includedBy(file: string, { includes }: Whole): Place[] {
  const found: Place[] = [];
  for (let from = includes.get(file); from !== undefined; from = includes.get(from.file)) {
    if (found.includes(from)) break;
    found.push(from);
  }
  return found;
}

/** What a file of the tree is, by its place and name. */
function kindOf(path: string): "fragment" | "piece" | "leftover" {
  const [, directory, name = ""] = /^\/etc\/authnft\/(?:(.*)\/)?([^/]+)$/.exec(path) ?? [];
  const limit = limitOf(directory);
  if (limit !== undefined)
    return LEFTOVER.test(name) || !isEscapedName(name, limit) ? "leftover" : "fragment";
  if (directory === undefined && name === "default") return "fragment";
  return LEFTOVER.test(name) ? "leftover" : "piece";
}

/** Whether there may be a file of that name: a user's may be longer. */
function isFileName(path: string): boolean {
  return path.split("/").every((name) => Buffer.byteLength(name) <= FILE_LIMIT);
}

/** Whose fragment a file is, by its place. */
function userOf(path: string): string | undefined {
  const [, file] = /^\/etc\/authnft\/users\/([^/]+)$/.exec(path) ?? [];
  return file === undefined ? undefined : unescapeName(file);
}

/** How long the names of files are that are called after somebody; `undefined` where they are not. */
function limitOf(directory: string | undefined): number | undefined {
  return directory === "users" ? NAME_LIMIT : directory === "groups" ? FILE_LIMIT : undefined;
}

/** What the file would have to be called if its name were somebody's, not escaped; `undefined` where it is none. */
function escapedOf(path: string): string | undefined {
  const [, directory, name = ""] = /^\/etc\/authnft\/(users|groups)\/([^/]+)$/.exec(path) ?? [];
  const limit = limitOf(directory);
  return limit === undefined || LEFTOVER.test(name) ? undefined : escapeName(name, limit);
}

function speaksOf({ commands }: Fragment, variable: string): boolean {
  return commands.some((command) =>
    command.some(({ text }, index) => text === variable && command[index - 1]?.text === "$"),
  );
}

/** Policies of one fragment without the rules that stand in an earlier one as well; none where no rule is left to try. */
function untried(policies: readonly Trial[]): Trial[] {
  const seen = new Set<string>();
  return policies.flatMap(({ policy, ...trial }): Trial[] => {
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

/** The sessions that samples stand for, in words. */
function sessionsOf(kinds: readonly Kind[]): string {
  if (kinds.includes("ip")) return "sessions without an IPv6 address";
  if (kinds.includes("ip6")) return "sessions without an IPv4 address";
  return "sessions without an address";
}

/** What a fragment becomes, taken over all samples: of each command what the first makes of it that does not leave it out. */
function together(fragment: Fragment, policies: readonly Policy[]): Pick<Policy, "parts" | "own"> {
  const [first, ...others] = policies;
  if (first === undefined || others.length === 0) return first ?? { parts: [], own: new Map() };
  const found = policies.map(({ parts }) => Map.groupBy(parts, ({ place }) => locate(place)));
  const keys = new Set(fragment.commands.map(([verb]) => locate(verb.place)));
  const parts = [...keys].flatMap((key) => found.find((map) => map.has(key))?.get(key) ?? []);
  return { parts, own: first.own };
}

/** @returns besides the host, what is to be said where it was not looked at */
async function hostOf({ tries, root }: CheckRequest): Promise<{ host: Host; gap: string | undefined }> {
  const host: Host = { drops: { in: undefined, out: undefined } };
  const unknown = (why: string): { host: Host; gap: string } => ({
    host,
    gap: `Whether a firewall of the host drops what is accepted here was not looked at: ${why}.`,
  });
  if (root !== "") return unknown(`${root} may be for another one`);
  if (!tries) return unknown("only root can");
  try {
    const { listRuleset } = await import("../system/ffi/nftables.ts");
    const { droppingChains } = await import("../ruleset/host_chains.ts");
    return { host: { drops: droppingChains(listRuleset()) }, gap: undefined };
  } catch (error) {
    return unknown(oneLine((error as Error).message));
  }
}
