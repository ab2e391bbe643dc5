// SPDX-License-Identifier: GPL-2.0-or-later

import { type Address, parseAddress } from "../../address.ts";
import { Refusal } from "../../refusal.ts";
import type { RhostPolicy } from "./arguments.ts";

/** The client's address as far as it is known, and a word for the log where two sources disagree. */
export type Peer = { readonly address: Address | undefined; readonly note: string | undefined };

/**
 * Decides on the client's address.
 *
 * @param rhost PAM_RHOST, whatever it holds
 * @param kernelPeers the peers of the PAM process's connections; asked for under `kernel` only
 * @throws {Refusal} `address`, under `strict` without an address in PAM_RHOST
 */
export function choosePeer(policy: RhostPolicy, rhost: string, kernelPeers: () => readonly string[]): Peer {
  const claimed = parseAddress(rhost);
  if (policy === "strict" && claimed === undefined) {
    throw new Refusal(
      "address",
      `Cannot tell the client's address: PAM_RHOST is ${JSON.stringify(rhost.slice(0, 80))} and rhost_policy=strict asks for an address; set "UseDNS no" in sshd_config, or use another rhost_policy.`,
    );
  }
  if (policy !== "kernel") return { address: claimed, note: undefined };
  const peers = [...new Set(kernelPeers().map(parseAddress))].filter((peer) => peer !== undefined);
  const [peer, second] = peers;
  if (peer === undefined)
    return { address: claimed, note: "the PAM process has no connection of its own; PAM_RHOST is taken" };
  // A process with several connections: the kernel's answer is only one if it can be told which carries the login.
  if (second !== undefined) {
    const known = claimed !== undefined && peers.includes(claimed);
    return {
      address: claimed,
      note: known
        ? undefined
        : "the PAM process has several connections, none from PAM_RHOST, which is taken",
    };
  }
  const note =
    peer === claimed
      ? undefined
      : `PAM_RHOST says ${JSON.stringify(rhost.slice(0, 80))}, the connection comes from ${peer}, which is taken`;
  return { address: peer, note };
}
