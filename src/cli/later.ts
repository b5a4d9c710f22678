// Commands of the documented command line that a later version brings: they are in the table, so that
// the help is honest and a script that uses one fails with the reason, whatever options it gives.

import type { Command } from "./command.ts";
import { laterError } from "./options.ts";

function laterCommand(name: string, summary: string, hint?: string): Command {
  return {
    name,
    summary: `${summary} (not in this version)`,
    description: hint ?? "This version refuses the command with exit code 2.",
    options: {},
    arguments: [],
    commands: [],
    passThrough: true,
    execute: () => Promise.reject(laterError(`Cannot run "${name}"`, hint ?? "Leave it out.")),
  };
}

export const checkpointCommand = laterCommand(
  "checkpoint",
  "Cut, list and delete checkpoints",
  "A checkpoint is cut 0.4 s after a write at the latest, sooner for 16 MiB of writes or a FLUSH, and by " +
    '"stop"; "inspect" lists them.',
);

export const restoreCommand = laterCommand(
  "restore",
  "Restore a device to a checkpoint, lazily",
  'Use "export --at CNO" to write a checkpoint to an image file or a device.',
);

export const recoverCommand = laterCommand(
  "recover",
  "Take over a device whose daemon died",
  'Use "del" to remove what a dead daemon left, then "add".',
);
