// SPDX-License-Identifier: GPL-2.0-or-later

/** A line of /proc/self/mountinfo, as far as it matters here. */
export type Mount = {
  readonly point: string;
  readonly type: string;
  readonly options: ReadonlySet<string>;
  /** Those of the file system itself, wherever it is mounted. */
  readonly fileSystemOptions: ReadonlySet<string>;
};

/** Reads /proc/self/mountinfo: proc_pid_mountinfo(5). */
export function parseMountinfo(text: string): Mount[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const fields = line.split(" ");
      const separator = fields.indexOf("-");
      return {
        point: unquote(fields[4] ?? ""),
        type: fields[separator + 1] ?? "",
        options: new Set((fields[5] ?? "").split(",")),
        fileSystemOptions: new Set((fields[separator + 3] ?? "").split(",")),
      };
    });
}

/** Returns the mount that a path lies on. The path must be absolute and without symbolic links; the last mount on a point is the visible one. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  return mounts.reduce<Mount | undefined>((best, mount) => {
    const inside = mount.point === "/" || path === mount.point || path.startsWith(`${mount.point}/`);
    return inside && mount.point.length >= (best?.point.length ?? 0) ? mount : best;
  }, undefined);
}

/** The kernel writes blanks and backslashes as three octal digits. */
function unquote(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
