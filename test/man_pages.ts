// SPDX-License-Identifier: GPL-2.0-or-later
import { readData } from "../src/system/host/shipped.ts";

/** A block of a manual page that stands there as it is typed. */
export type Literal = { readonly section: string; readonly title: string; readonly text: string };

/** The literal blocks of a page, with the section that each stands in. */
export function literals(page: string): Literal[] {
  const found: Literal[] = [];
  let section = "";
  let block: string[] | undefined;
  for (const line of Buffer.from(readData(page)).toString().split("\n")) {
    if (line.startsWith(".Sh ")) section = line.slice(4);
    if (line.startsWith(".Bd -literal")) block = [];
    else if (line === ".Ed" && block !== undefined) {
      const title = block.find((text) => text.startsWith("add ")) ?? "";
      found.push({ section, title, text: `${block.join("\n")}\n` });
      block = undefined;
    } else block?.push(line.replaceAll("\\-", "-").replaceAll("\\&", "").replaceAll("\\e", "\\"));
  }
  return found;
}
