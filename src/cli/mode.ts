// `mode`: shows and sets how a device is replicated.

import { usageError } from "../base/errors.ts";
import { setMode, status } from "../control/client.ts";
import { hasNoReplica } from "../control/state_refusals.ts";
import { WANTED_MODES, type WantedMode } from "../replication/wanted_mode.ts";
import { defineCommand, defineGroup } from "./command.ts";
import { daemonChoice, daemonSocket } from "./find_daemon.ts";

const getCommand = defineCommand({
  name: "get",
  summary: "Show the mode of a device",
  description:
    "Prints one word: logging, forward-part, forward-full, paused, detached or stopping. Without an " +
    "option it asks the daemon that listens on ./.ioreplica, or else the only one that runs.",
  options: daemonChoice,
  examples: [["mode get -n 0", "The mode of /dev/ublkb0"]],
  notes:
    'What each mode means for the replica is in docs/operations.md; "status" shows how far a ' +
    "resync is.",
  async run(ctx, values) {
    const socket = await daemonSocket(ctx, values, { orOnly: true });
    const { mode, device, resync } = await status(socket, { signal: ctx.signal });
    if (mode === null) throw hasNoReplica(`show the mode of ${device}`);
    const text = values.json ? JSON.stringify({ device, mode, resync }, null, 2) : mode;
    ctx.stdout.write(`${text}\n`);
  },
});

const SET_NOTES = `Modes:
  pause         Writes are not copied any more, only noted; no checkpoint is published.
  logging       Ends a pause: copies what changed meanwhile, then every write again.
  forward-part  The same: copies what the replica is known to lack.
  forward-full  Copies the whole device, whatever the replica is known to have.

A pause ends with the daemon: the next start resyncs and replicates. Stopping a paused
device leaves its replica behind, so "stop" ends with exit code 4 then. While a resync
runs no checkpoint is published; older ones stay. Where replication has ended (detached)
no mode can be set (exit code 4): stop the device and add it again.`;

const setCommand = defineCommand({
  name: "set",
  summary: "Pause replication, resume it, or copy the device again",
  description:
    "The device stays in use in every mode. Prints the mode that the device is in when the order is " +
    "carried out; a resync then goes on by itself and ends in logging. Without an option it means the " +
    "daemon that listens on ./.ioreplica, never another one.",
  options: daemonChoice,
  arguments: [{ name: "mode", summary: `One of ${WANTED_MODES.join(", ")}`, required: true }],
  examples: [
    ["mode set -n 0 pause", "Nothing goes to the replica of /dev/ublkb0 for now"],
    ["mode set -n 0 logging", "And on"],
    ["mode set forward-full", "The replica is not to be trusted: write all of it again"],
  ],
  notes: SET_NOTES,
  async run(ctx, values, [wanted]) {
    const mode = wantedModeOf(wanted);
    const socket = await daemonSocket(ctx, values, { orOnly: false });
    const report = await setMode(socket, mode, { signal: ctx.signal });
    ctx.stdout.write(
      values.json ? JSON.stringify(report, null, 2) + "\n" : `${report.mode}: ${report.note}\n`,
    );
  },
});

function wantedModeOf(text: string | undefined): WantedMode {
  const mode = WANTED_MODES.find((one) => one === text);
  if (mode !== undefined) return mode;
  throw usageError(`Cannot set the mode "${text}": there is no such mode to set`, {
    hint: `Choose one of: ${WANTED_MODES.join(", ")}.`,
  });
}

export const modeCommand = defineGroup({
  name: "mode",
  summary: "Show or set the replication mode of a device",
  description: "How writes get from the primary to the replica.",
  commands: [getCommand, setCommand],
});
