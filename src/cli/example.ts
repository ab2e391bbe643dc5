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
    const meant = all.find((example) => isNear(name, example.name));
    const hint = meant === undefined ? "" : `Did you mean ${meant.name}? `;
    console.error(
      `authnft example: there is no example ${JSON.stringify(name)}. ${hint}"authnft example" lists them.`,
    );
    return 2;
  }
  process.stdout.write(chosen.text);
  return 0;
}

/** Whether one was written where the other was meant: as a part of it, or with a mistake in three characters. */
function isNear(written: string, meant: string): boolean {
  if (written.length > 1 && meant.includes(written.toLowerCase())) return true;
  return distance(written.toLowerCase(), meant) <= Math.ceil(meant.length / 4);
}

/** How many characters have to be put in, taken out or changed to make one of the other. */
function distance(one: string, other: string): number {
  let above = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (const [row, character] of [...one].entries()) {
    const line = [row + 1];
    for (let column = 1; column <= other.length; column++) {
      const [left = 0, up = 0, corner = 0] = [line[column - 1], above[column], above[column - 1]];
      line.push(Math.min(left + 1, up + 1, corner + (character === other[column - 1] ? 0 : 1)));
    }
    above = line;
  }
  return above.at(-1) ?? 0;
}
