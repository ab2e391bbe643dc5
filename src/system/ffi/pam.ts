// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi, loadLibrary } from "./koffi.ts";

const PAM_SUCCESS = 0;

/**
 * Opens a PAM session with a stack of our own, in this process.
 *
 * @param options.directory where the stack is: a file of the service's name
 * @returns what closes it
 * @throws {Error} when a module refuses
 */
export function openPamSession(options: {
  readonly directory: string;
  readonly service: string;
  readonly user: string;
}): () => void {
  const library = loadLibrary("libpam.so.0");
  const Handle = koffi.pointer("pam_handle_t", koffi.opaque());
  const Conversation = koffi.struct("pam_conv", { conv: "void *", appdata: "void *" });
  const c = {
    start: library.func("pam_start_confdir", "int", [
      "const char *",
      "const char *",
      koffi.pointer(Conversation),
      "const char *",
      koffi.out(koffi.pointer(Handle)),
    ]),
    open: library.func("pam_open_session", "int", [Handle, "int"]),
    close: library.func("pam_close_session", "int", [Handle, "int"]),
    end: library.func("pam_end", "int", [Handle, "int"]),
    strerror: library.func("pam_strerror", "const char *", [Handle, "int"]),
  };
  const handle: [unknown] = [null];
  // Modules that open a session ask nothing, so there is nobody who answers.
  const conversation = { conv: null, appdata: null };
  const started = c.start(options.service, options.user, conversation, options.directory, handle);
  if (started !== PAM_SUCCESS) throw new Error(`PAM cannot be started: ${c.strerror(null, started)}`);
  const opened = c.open(handle[0], 0);
  if (opened !== PAM_SUCCESS) {
    const why = c.strerror(handle[0], opened);
    c.end(handle[0], opened);
    throw new Error(`PAM opens no session: ${why}`);
  }
  return () => {
    c.end(handle[0], c.close(handle[0], 0));
  };
}
