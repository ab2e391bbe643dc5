// SPDX-License-Identifier: GPL-2.0-or-later

// The root file system of a guest: built once by debootstrap, then kept in a cache and never written to again.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { elapsed, progress } from "./progress.ts";

export const releases = ["bookworm", "trixie"] as const;
export type Release = (typeof releases)[number];

const guestDirectory = join(import.meta.dir, "guest");

/** Where built images are kept; the environment variable AUTHNFT_LAB_CACHE overrides it. */
export function cacheDirectory(): string {
  return process.env.AUTHNFT_LAB_CACHE || "/var/cache/authnft-lab";
}

/**
 * Builds the image of a release unless it is in the cache, and returns its directory.
 * Two builds of one release at once wait for each other. Throws when debootstrap fails, with the end of its log.
 */
export async function image(release: Release): Promise<string> {
  const recipe = new Bun.CryptoHasher("sha256");
  for (const file of ["build", "packages", "provision"])
    recipe.update(readFileSync(join(guestDirectory, file)));
  const directory = join(cacheDirectory(), `${release}-${recipe.digest("hex").slice(0, 12)}`);
  if (existsSync(directory)) return directory;

  mkdirSync(cacheDirectory(), { recursive: true, mode: 0o755 });
  progress(`lab: ${release}: not in the cache, building it once (a minute on most lines)`);
  const start = performance.now();
  const build = Bun.spawn(
    [
      ...["flock", join(cacheDirectory(), `.lock-${release}`)],
      ...[
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
      ],
      ...[join(guestDirectory, "build"), release, directory, await debianMirror()],
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "pipe", env: { ...process.env, ...(await aptProxy()) } },
  );
  const log = new Response(build.stderr).text();
  const decoder = new TextDecoder();
  for await (const chunk of build.stdout) {
    for (const stage of decoder.decode(chunk).split("\n").filter(Boolean)) {
      progress(`lab: ${release}: ${stage} (${elapsed(start)})`);
    }
  }
  if ((await build.exited) !== 0) {
    const end = (await log).trim().split("\n").slice(-15).join("\n");
    throw new Error(`Cannot build a root file system for ${release}; the end of debootstrap's log:\n${end}`);
  }
  return directory;
}

/**
 * The Debian mirror of this host's own apt configuration, or "" for debootstrap's default:
 * on a host that is not Debian, or where apt uses a kind of address that debootstrap cannot.
 */
async function debianMirror(): Promise<string> {
  const osRelease = await Bun.file("/etc/os-release").text();
  const codename = /^VERSION_CODENAME="?([^"\n]+)/m.exec(osRelease)?.[1];
  if (!/^ID="?debian"?$/m.test(osRelease) || !codename) return "";
  const format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";
  const targets = await Bun.$`apt-get indextargets --format ${format}`.quiet().nothrow().text();
  for (const target of targets.split("\n")) {
    const [uri, release, component, origin] = target.split(" ");
    // The origin is known once the lists were fetched; before, only the usual shape of the address tells.
    const debian = origin ? origin === "Debian" : /\/debian\/?$/.test(uri ?? "");
    if (uri && /^(https?|file):/.test(uri) && release === codename && component === "main" && debian)
      return uri;
  }
  return "";
}

/** The proxy that apt is told to use, for debootstrap's downloads. */
async function aptProxy(): Promise<Record<string, string>> {
  const line = await Bun.$`apt-config shell proxy Acquire::http::Proxy`.quiet().nothrow().text();
  const proxy = /^proxy='(.+)'$/m.exec(line)?.[1];
  return proxy && proxy !== "DIRECT" ? { http_proxy: proxy } : {};
}
