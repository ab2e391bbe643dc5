// SPDX-License-Identifier: GPL-2.0-or-later
import { oneLine, type Reason } from "../../refusal.ts";
import type { SessionRecord } from "./record.ts";

/** The facts about a session in the log; "" where unknown. */
export type Told = Pick<
  SessionRecord,
  "user" | "cg_path" | "remote_ip" | "fragment" | "claims_tag" | "correlation"
> & {
  readonly scope_unit: string;
  readonly cg_id: number | undefined;
};

/** An event in the life of a session. */
export type Event =
  | { readonly kind: "open" }
  | { readonly kind: "refuse"; readonly reason: Reason; readonly why: string }
  | { readonly kind: "close"; readonly how: "pam"; readonly keeps: boolean }
  | { readonly kind: "close"; readonly how: "lost" }
  | { readonly kind: "end"; readonly seconds: number; readonly traffic: SessionRecord["traffic"] };

// Made once with "journalctl --new-id128"; part of the interface.
const MESSAGE_IDS = {
  open: "9930e8a9f61c4e01a64c7d44b98bb72d",
  refuse: "b43bebd99b744eaf8448078ffc57d28f",
  close: "511925b3701b4b558683dea8eef2c521",
  end: "8e3314e2019447d59bbdceff3cf692f0",
} as const;

/** An event as a log entry: a sentence for people, fields for machines. */
export type EventEntry = {
  readonly message: string;
  readonly messageId: string;
  readonly fields: Readonly<Record<string, string>>;
};

/** Writes an event down. */
export function describeEvent(event: Event, told: Told): EventEntry {
  return {
    // A name may hold anything; it must not make a second line of the log.
    message: oneLine(sentence(event, told)),
    messageId: MESSAGE_IDS[event.kind],
    fields: {
      AUTHNFT_EVENT: event.kind,
      AUTHNFT_USER: told.user,
      AUTHNFT_CG_PATH: told.cg_path,
      AUTHNFT_CG_ID: told.cg_id === undefined ? "" : String(told.cg_id),
      AUTHNFT_REMOTE_IP: told.remote_ip,
      AUTHNFT_FRAGMENT: told.fragment,
      AUTHNFT_CLAIMS_TAG: told.claims_tag,
      AUTHNFT_SCOPE_UNIT: told.scope_unit,
      AUTHNFT_CORRELATION: told.correlation,
      ...extraFields(event),
    },
  };
}

function extraFields(event: Event): Record<string, string> {
  switch (event.kind) {
    case "open":
      return {};
    case "refuse":
      return { AUTHNFT_REASON: event.reason };
    case "close":
      return { AUTHNFT_HOW: event.how };
    case "end":
      return {
        AUTHNFT_DURATION_SEC: event.seconds.toFixed(3),
        ...(event.traffic && {
          AUTHNFT_PACKETS: String(event.traffic.packets),
          AUTHNFT_BYTES: String(event.traffic.bytes),
        }),
      };
  }
}

function sentence(event: Event, told: Told): string {
  const from = told.remote_ip === "" ? "" : ` from ${told.remote_ip}`;
  // So that what begins behind the name is ours.
  const who = /^[^\s"]*$/.test(told.user) ? told.user : JSON.stringify(told.user);
  switch (event.kind) {
    case "open":
      return `Session of ${who}${from} is filtered by ${told.fragment} in ${told.scope_unit}.`;
    case "refuse":
      return told.user === "" ? event.why : `Session of ${who}${from} is refused: ${event.why}`;
    case "close":
      if (event.how === "pam") {
        return `Session of ${who} in ${told.scope_unit} was closed; ${event.keeps ? "what is left of it keeps its rules" : "its rules are gone"}.`;
      }
      return `Session of ${who} in ${told.scope_unit} was lost without being closed.`;
    case "end":
      return `Session of ${who} in ${told.scope_unit} is over after ${event.seconds.toFixed(1)} s.`;
  }
}
