// SPDX-License-Identifier: GPL-2.0-or-later
import { dataFiles, readData } from "../system/host/shipped.ts";

const FOLDER = "examples/";

/** A fragment that is shipped to begin with. */
export type Example = { readonly name: string; readonly about: string; readonly text: string };

/** Returns the fragments that are shipped, by name. The first line of each, a comment, says what it is about. */
export function examples(): Example[] {
  return dataFiles()
    .filter((file) => file.startsWith(FOLDER))
    .map((file) => {
      const text = Buffer.from(readData(file)).toString();
      const about = /^# (.*)$/m.exec(text)?.[1] ?? "";
      return { name: file.slice(FOLDER.length), about, text };
    });
}

/**
 * Prints an example, or the list of them.
 *
 * @returns the exit code: 2 when there is none of that name
 */
export function runExample(name: string | undefined): number {
  const all = examples();
  if (name === undefined) {
    const width = Math.max(...all.map((example) => example.name.length));
    for (const example of all) console.log(`${example.name.padEnd(width)}  ${example.about}`);
    return 0;
  }
  const chosen = all.find((example) => example.name === name);
  if (chosen === undefined) {
    const names = all.map((example) => example.name).join(", ");
    console.error(`authnft example: there is no example ${JSON.stringify(name)}; there are ${names}.`);
    return 2;
  }
  process.stdout.write(chosen.text);
  return 0;
}
