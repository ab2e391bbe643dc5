// SPDX-License-Identifier: GPL-2.0-or-later
import type { Refusal } from "../../refusal.ts";
import { describeEvent, type Event, type Told } from "../../subjects/session/events.ts";
import { Level, log } from "../../system/systemd/journal.ts";

/** Stands for the cgroup id of a session that has none yet. */
export const NO_CGROUP = 0;

/** Writes an event of a session to the journal. */
export function report(event: Event, told: Told & { readonly cg_id: number }): void {
  const { message, messageId, fields } = describeEvent(event, {
    ...told,
    cg_id: told.cg_id === NO_CGROUP ? undefined : told.cg_id,
  });
  log({ level: event.kind === "refuse" ? Level.warning : Level.info, message, messageId, fields });
}

/** Logs a refusal whose request could not be read. */
export function reportUnread(refusal: Refusal): void {
  report(
    { kind: "refuse", reason: refusal.reason, why: refusal.message },
    {
      user: "",
      cg_path: "",
      cg_id: NO_CGROUP,
      remote_ip: "",
      fragment: "",
      claims_tag: "",
      scope_unit: "",
      correlation: "",
    },
  );
}
