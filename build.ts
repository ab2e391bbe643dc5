// SPDX-License-Identifier: GPL-2.0-or-later

// Builds dist/: the executable that is shipped, and beside it the C programs for those who package the pieces.
// The same sources, tools and machine give the same bytes.

import { chmodSync, existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import type { BunPlugin } from "bun";
import manifest from "./package.json" with { type: "json" };
import { piecePath } from "./src/system/host/shipped.ts";

const root = import.meta.dir;
const dist = join(root, "dist");
// The names that the bundler gives to parts of the program depend on the working directory.
process.chdir(root);

/** The machines that koffi's addon and the entry's assembly exist for. */
const MACHINES = ["x64", "arm64"];

// dbus-next asks for these two when it runs. Left external they would be looked for below the working directory, and a
// user's node_modules there would be executed as root. What asks for them goes on without, as it does when they are not installed.
const ABSENT = /^(x11|usocket)$/;

const leaveOut: BunPlugin = {
  name: "leave out",
  setup(build) {
    build.onResolve({ filter: ABSENT }, ({ path }) => ({ path, namespace: "absent" }));
    build.onLoad({ filter: /.*/, namespace: "absent" }, ({ path }) => ({
      contents: `throw new Error("${path} is left out of authnft");`,
      loader: "js",
    }));
  },
};

if (process.platform !== "linux" || !MACHINES.includes(process.arch)) {
  stop(
    `Cannot build for ${process.platform} on ${process.arch}: there is only Linux on ${MACHINES.join(" and ")}.`,
  );
}
if (Bun.version !== manifest.devDependencies.bun) {
  stop(
    `Cannot build with Bun ${Bun.version}: what it does to the executable was tried with ${manifest.devDependencies.bun}; run "npm ci", then "npm run build".`,
  );
}

mkdirSync(dist, { recursive: true });
const native = Bun.spawnSync([join(root, "native/build.sh"), dist], {
  stdio: ["ignore", "inherit", "inherit"],
});
if (native.exitCode !== 0) stop("Cannot build the C parts: native/build.sh failed, see above.");

const pieces = (["authnft-entry", "authnft-member", "pam_authnft.so", "koffi.node"] as const).map(piecePath);
for (const piece of pieces) {
  if (!existsSync(piece)) stop(`Cannot embed ${piece}: there is no such file; run "npm ci" and build again.`);
}

// Built beside and renamed: a program that runs from dist/ keeps its file.
const unfinished = join(dist, "authnft.new");
const result = await Bun.build({
  entrypoints: [join(root, "src/main.ts")],
  root,
  target: "bun",
  format: "esm",
  minify: true,
  bytecode: true,
  // Each verb loads what it needs itself: 3 ms instead of 6 before it begins.
  splitting: true,
  plugins: [leaveOut],
  // Every module that the program asks for is inside it, or the build fails.
  allowUnresolved: [],
  throw: false,
  compile: {
    outfile: unfinished,
    // The working directory has no say in what a program does that root runs.
    autoloadDotenv: false,
    autoloadBunfig: false,
    autoloadTsconfig: false,
    autoloadPackageJson: false,
    assets: [...pieces, join(root, "data")],
  },
});
for (const log of result.logs) console.error(String(log));
if (!result.success) stop("Cannot build the executable, see above.");
chmodSync(unfinished, 0o755);
renameSync(unfinished, join(dist, "authnft"));

console.log(`authnft ${manifest.version}, Linux on ${process.arch}:`);
for (const name of ["authnft", "pam_authnft.so", "authnft-member", "authnft-entry"]) {
  const { size } = statSync(join(dist, name));
  console.log(`  dist/${name.padEnd(16)} ${size.toLocaleString("en").padStart(12)} bytes`);
}

function stop(complaint: string): never {
  console.error(complaint);
  process.exit(1);
}
