// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { membership, parseLocalFiles } from "../../../../src/system/host/membership.ts";

describe("the local files", () => {
  test("are read line by line, and what is no entry is left out", () => {
    expect(
      parseLocalFiles(
        "root:x:0:0:root:/root:/bin/sh\n\n# a comment\n+::::::\nalice:x:1000:1000::/:\nnobody-knows:x:-1:1::/:\nshort:x:1\n",
        "authnft:x:900:alice,,bob\nempty:x:901:\n+:::\n",
      ),
    ).toEqual({
      users: [
        { name: "root", uid: 0, gid: 0 },
        { name: "alice", uid: 1000, gid: 1000 },
      ],
      groups: [
        { name: "authnft", gid: 900, members: ["alice", "bob"] },
        { name: "empty", gid: 901, members: [] },
      ],
    });
  });
});

// Uids and groups that no host of ours has, so that its own name service has nothing to say of them.
describe("a user is a member", () => {
  const PASSWD =
    "first:x:4000001:4000001::/:\nalice:x:4000001:4000001::/:\nlast:x:4000001:4000001::/:\nbob:x:4000002:4000002::/:\ntoor:x:0:0::/:\n";
  const user = (name: string, uid: number) => ({ name, uid, gid: uid });

  test.each(["first", "alice", "last", "of another source"])(
    "whose uid has a member's name in the local file, under whatever name: %s",
    (name) => {
      const isMember = membership(parseLocalFiles(PASSWD, "authnft:x:4000900:alice,toor\n"));
      expect(isMember(user(name, 4000001))).toBe(true);
      expect(isMember(user("bob", 4000002))).toBe(false);
      expect(isMember(user("toor", 0))).toBe(false);
    },
  );

  test("whose uid has a name there with the group for primary group", () => {
    const passwd = PASSWD.replace("last:x:4000001:4000001", "last:x:4000001:4000900");
    const isMember = membership(parseLocalFiles(passwd, "authnft:x:4000900:\n"));
    expect(isMember(user("first", 4000001))).toBe(true);
    expect(isMember(user("bob", 4000002))).toBe(false);
  });

  test("in whose process PAM has put the group, other than by inheritance", async () => {
    const isMember = membership(parseLocalFiles(PASSWD, "authnft:x:4000900:\n"));
    const start = (...command: string[]) => Bun.spawn(command, { stdout: "pipe", stdin: "pipe" });
    const given = start("setpriv", "--groups", "4000900", "sh", "-c", "echo here; cat");
    const inherited = start("setpriv", "--groups", "4000900", "sh", "-c", "sh -c 'echo $$; cat'; :");
    try {
      const read = async (child: typeof given) =>
        new TextDecoder().decode((await child.stdout.getReader().read()).value).trim();
      expect(await read(given)).toBe("here");
      expect(isMember(user("bob", 4000002), given.pid)).toBe(true);
      expect(isMember(user("bob", 4000002), Number(await read(inherited)))).toBe(false);
      expect(isMember(user("bob", 4000002), process.pid)).toBe(false);
    } finally {
      for (const child of [given, inherited]) child.stdin.end();
    }
  });
});
