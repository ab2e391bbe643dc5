// SPDX-License-Identifier: GPL-2.0-or-later

// `npm run lab`: the lab for people.

import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Argument, Command } from "commander";
import { register } from "./guest.ts";
import { cacheDirectory, image, type Release, releases } from "./image.ts";
import { up } from "./lab.ts";
import { progress } from "./progress.ts";

const banner = `
  users      alice bob m0…m9 (members), carol (by primary group), dave (no member); password <name>-password
  log in     client ssh alice@v4            or @v6, @link-local, @mapped; from 10.77.0.2, fd77::2
  reach      probe tcp 10.88.0.2 7001       or udp; 10.88.0.3, fd88::2, fd88::3; ports 7001 to 7004
  policy     alice may not reach 10.88.0.3 (/etc/authnft/users/alice); the others have none and are refused
  PAM        sshd has our line; su, sudo, login and the services of pamtester, lab and lab-login, have not
  look       nft list table inet authnft, systemctl status authnft.slice, journalctl -t pam_authnft
  exit       ends the lab; nothing of it is left
`;

const program = new Command("npm run lab --").description(
  "A disposable Debian with systemd, logind, sshd and nftables, and the build installed.",
);

program
  .command("shell", { isDefault: true })
  .description("boot a fresh guest, and open a root shell in it")
  .addArgument(new Argument("[release]").choices(releases).default("bookworm"))
  .action(async (release: Release) => {
    await using lab = await up({ release });
    try {
      await lab.install();
      await lab.pam("sshd", { through: "shim" });
      await lab.fragment("alice", "add rule inet authnft egress ip daddr 10.88.0.3 reject\n");
    } catch (error) {
      progress(`lab: the build is not installed here: ${error instanceof Error ? error.message : error}`);
    }
    process.stdout.write(`\nDebian ${release} in a lab.\n${banner}\n`);
    process.on("SIGINT", () => {
      // Ctrl-C is for what runs in the shell.
    });
    process.exitCode = await lab.shell();
  });

program
  .command("build")
  .description("fill the cache: what the first use of a release would do")
  .addArgument(new Argument("[release...]").choices(releases).default([...releases], "both"))
  .action(async (wanted: Release[]) => {
    for (const directory of await Promise.all(wanted.map(image))) console.log(directory);
  });

program
  .command("status")
  .description("show running guests and cached images")
  .action(async () => {
    const running = (await register("list")).trim();
    console.log(running ? `Running (name, process that owns it):\n${running}` : "Nothing is running.");
    const cached = images();
    console.log(cached.length ? `Cached in ${cacheDirectory()}: ${cached.join(", ")}` : "Nothing is cached.");
  });

program
  .command("down")
  .description("end guests: those whose owner is gone, or the ones named, or --all")
  .argument("[name...]", "as `status` shows them")
  .option("--all", "every guest on this machine")
  .action(async (names: string[], { all }: { all?: boolean }) => {
    await register("sweep");
    const listed = (await register("list")).split("\n").flatMap((line) => line.split(" ", 1).filter(Boolean));
    for (const name of all ? listed : names) {
      if (!listed.includes(name))
        throw new Error(`There is no guest ${name}; \`npm run lab -- status\` lists them.`);
      await register("close", name);
      console.log(`Ended ${name}.`);
    }
  });

program
  .command("clean")
  .description("remove the cached images (a minute each to build again)")
  .action(async () => {
    await register("sweep");
    if ((await register("list")).trim())
      throw new Error("Guests are running on these images: end them first (`down --all`).");
    for (const name of images()) {
      rmSync(join(cacheDirectory(), name), { recursive: true, force: true });
      console.log(`Removed ${name}.`);
    }
  });

function images(): string[] {
  if (!existsSync(cacheDirectory())) return [];
  return readdirSync(cacheDirectory()).filter((name) =>
    releases.some((release) => name.startsWith(`${release}-`)),
  );
}

try {
  await program.parseAsync();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
