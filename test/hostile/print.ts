// SPDX-License-Identifier: GPL-2.0-or-later

// Prints the table of docs/security.md as it is now: npm run --silent hostile -- [bookworm|trixie]

import { type Release, releases, up } from "../lab/lab.ts";
import { countHeld, formatTable, survey } from "./survey.ts";

const release = (process.argv[2] ?? "trixie") as Release;
if (!releases.includes(release)) {
  console.error(`Usage: npm run --silent hostile -- [${releases.join("|")}]`);
  process.exit(2);
}
await using lab = await up({ release });
await lab.install();
const { rows } = await survey(lab);
console.log(`${formatTable(rows)}\n\n${countHeld(rows)}`);
