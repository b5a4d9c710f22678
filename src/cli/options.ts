// The kinds of options that commands are declared with. Each reads its text and refuses what is
// wrong with the option's name in the message; rules between options live in src/config.ts.

import { ReplicaError, usageError } from "../base/errors.ts";
import { formatSize, parseSize } from "../base/units.ts";
import { type CliOption, longName } from "./command.ts";

interface OptionTexts {
  readonly summary: string;
  readonly group?: string;
}

interface Defaults<T> extends OptionTexts {
  readonly default: T;
  /** Replaces the default in the help. */
  readonly defaultText?: string;
}

interface Required extends OptionTexts {
  readonly required: true;
}

interface Optional extends OptionTexts {
  /** What happens without the option, for the help. */
  readonly defaultText?: string;
}

type AnyTexts<T> = Optional & { default?: T; required?: true };

function build<T>(
  flags: string,
  texts: AnyTexts<T>,
  read: (text: string, name: string) => T,
  show: (value: T) => string = String,
): CliOption<T> {
  const name = longName(flags);
  return {
    flags,
    summary: texts.summary,
    group: texts.group,
    required: texts.required ?? false,
    fallback: texts.default as T,
    defaultText: texts.defaultText ??
      (texts.default === undefined ? undefined : show(texts.default)),
    read: (text) => read(String(text), name),
  };
}

/** A flag: false unless given. */
export function flagOption(flags: string, texts: OptionTexts) {
  const option: CliOption<boolean> = {
    flags,
    ...texts,
    required: false,
    fallback: false,
    read: () => true,
  };
  return option;
}

export function textOption(flags: string, texts: Required | Defaults<string>): CliOption<string>;
export function textOption(flags: string, texts: Optional): CliOption<string | undefined>;
export function textOption(flags: string, texts: AnyTexts<string>) {
  return build<string>(flags, texts, function (text, name) {
    // deno-lint-ignore no-control-regex -- control characters are what is looked for
    if (/[\x00-\x1f\x7f]/.test(text)) {
      throw usageError(`Cannot read ${name}: its value holds a control character`);
    }
    return text;
  });
}

export function sizeOption(flags: string, texts: Required | Defaults<number>): CliOption<number>;
export function sizeOption(flags: string, texts: Optional): CliOption<number | undefined>;
export function sizeOption(flags: string, texts: AnyTexts<number>) {
  return build<number>(flags, texts, parseSize, formatSize);
}

export function integerOption(flags: string, texts: Required | Defaults<number>): CliOption<number>;
export function integerOption(flags: string, texts: Optional): CliOption<number | undefined>;
export function integerOption(flags: string, texts: AnyTexts<number>) {
  return build<number>(flags, texts, parseInteger);
}

export function choiceOption<const T extends string>(
  flags: string,
  texts: Defaults<T> & { choices: readonly T[] },
): CliOption<T> {
  function read(text: string, name: string): T {
    const choice = texts.choices.find((one) => one === text);
    if (choice === undefined) {
      throw usageError(`Cannot read ${name}: "${text}" is not one of its values`, {
        hint: `Choose one of: ${texts.choices.join(", ")}.`,
      });
    }
    return choice;
  }
  return build<T>(flags, texts, read);
}

/** An option of the documented command line that this version refuses, with the reason. */
export function refusedFlag(flags: string, texts: { summary: string; hint?: string }) {
  return {
    ...flagOption(flags, { ...texts, group: REFUSED_GROUP }),
    read: () => refuse(flags, texts),
  };
}

/** As {@link refusedFlag}, for an option with a value of which only `accepted` is available. */
export function refusedUnless(
  flags: string,
  texts: { summary: string; accepted: string; hint?: string },
): CliOption<string> {
  function read(text: string, name: string): string {
    if (text !== texts.accepted) {
      throw laterError(`Cannot use ${name} ${text}`, texts.hint, `only ${texts.accepted}`);
    }
    return text;
  }
  return build<string>(
    flags,
    { summary: texts.summary, group: REFUSED_GROUP, default: texts.accepted },
    read,
  );
}

const REFUSED_GROUP = "Not in this version (refused):";

function refuse(flags: string, texts: { hint?: string }): never {
  throw laterError(`Cannot use ${longName(flags)}`, texts.hint);
}

/** The usage error for what a later version brings. */
export function laterError(what: string, hint?: string, has = "not"): ReplicaError {
  const reason = has === "not"
    ? "this version does not have it yet"
    : `this version accepts ${has}`;
  return usageError(`${what}: ${reason}`, { hint: hint ?? "Leave it out." });
}

function parseInteger(text: string, name: string): number {
  const value = /^-?\d+$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) {
    throw usageError(`Cannot read ${name}: "${text}" is not a whole number`);
  }
  return value;
}

const OUTPUT_GROUP = "Output and logs:";

/** Options that every command has. */
export const commonOptions = {
  json: flagOption("--json", {
    summary: "Results on stdout and errors on stderr as JSON",
    group: OUTPUT_GROUP,
  }),
  logLevel: choiceOption("--log-level <LEVEL>", {
    summary: "Least level that is logged: debug, info, warning or error",
    choices: ["debug", "info", "warning", "error"],
    default: "info",
    group: OUTPUT_GROUP,
  }),
  logFormat: choiceOption("--log-format <FORMAT>", {
    summary: "Form of the log lines: text or json",
    choices: ["text", "json"],
    default: "text",
    group: OUTPUT_GROUP,
  }),
  logFile: textOption("--log-file <FILE>", {
    summary: "Append the log to FILE",
    defaultText: "stderr; of a daemon in the background a file in the run directory",
    group: OUTPUT_GROUP,
  }),
};
