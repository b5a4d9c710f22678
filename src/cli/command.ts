// How a command is declared: name, texts, options and what it does. mod.ts holds the table of all
// commands; program.ts turns the table into a commander program; nothing else knows commander.
//
// A command of its own file looks like this:
//
//   export const exampleCommand = defineCommand({
//     name: "example",
//     summary: "One line for the list of commands",
//     description: "What it does, in sentences.",
//     options: {
//       file: textOption("-f, --file <FILE>", { summary: "File to read", required: true }),
//       regionSize: sizeOption("--region-size <SIZE>", { summary: "…", default: 8 * MiB }),
//     },
//     examples: [["example -f /dev/vdb", "what this shows"]],
//     async run(ctx, { file, regionSize }) {      // typed by the options: string, number
//       ctx.stdout.write(`${file}\n`);
//     },
//   });
//
// Keys of `options` are the long names in camelCase. run() returns nothing for exit code 0, or an
// exit code; it throws ReplicaErrors for everything that goes wrong (their kinds give the code).

import { invariant } from "../base/assert.ts";
import type { Context } from "./context.ts";

/** One option of a command; made by the functions of options.ts. */
export interface CliOption<T> {
  /** Commander's notation: "-d, --depth <N>", "--json". */
  readonly flags: string;
  readonly summary: string;
  /** Heading in the help under which the option stands. */
  readonly group?: string;
  /** Shown in the help. */
  readonly defaultText?: string;
  readonly required: boolean;
  /** The value when the option isn't given. */
  readonly fallback: T;
  /** Text of the command line (true for a flag) to value; throws a usage error. */
  read(text: string | true): T;
}

/** A positional argument. All are text; those at the end may be optional. */
export interface CliArgument {
  readonly name: string;
  readonly summary: string;
  readonly required: boolean;
}

export type OptionTable = Readonly<Record<string, CliOption<unknown>>>;

/** The values that run() gets for the options declared as `O`. */
export type OptionValues<O extends OptionTable> = {
  readonly [K in keyof O]: O[K] extends CliOption<infer T> ? T : never;
};

/** Options that every command has; see options.ts. */
export interface CommonValues {
  readonly json: boolean;
  readonly logLevel: "debug" | "info" | "warning" | "error";
  readonly logFormat: "text" | "json";
  readonly logFile: string | undefined;
}

export interface CommandTexts {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Paragraphs at the head of the command's help. */
  readonly description: string;
  /** Command lines (without the program's name) and what each shows. */
  readonly examples?: readonly (readonly [command: string, meaning: string])[];
  /** Further sections at the end of the help. */
  readonly notes?: string;
}

export interface CommandDeclaration<O extends OptionTable> extends CommandTexts {
  readonly options: O;
  readonly arguments?: readonly CliArgument[];
  run(
    ctx: Context,
    values: OptionValues<O> & CommonValues,
    args: readonly (string | undefined)[],
  ): Promise<number | void>;
}

/** A command as the table holds it: with the types of its options erased. */
export interface Command extends CommandTexts {
  readonly options: OptionTable;
  readonly arguments: readonly CliArgument[];
  readonly commands: readonly Command[];
  /** Takes any options and arguments without looking at them. */
  readonly passThrough?: boolean;
  /** Null for a mere group of commands. */
  readonly execute:
    | ((
      ctx: Context,
      values: Readonly<Record<string, unknown>>,
      args: readonly (string | undefined)[],
    ) => Promise<number | void>)
    | null;
}

/** Declares a command; see the head of this file. */
export function defineCommand<const O extends OptionTable>(
  declaration: CommandDeclaration<O>,
): Command {
  for (const [key, option] of Object.entries(declaration.options)) {
    invariant(
      !option.flags.includes("--no-"),
      `${key}: commander takes --no-x for the reverse of x`,
    );
    invariant(key === attributeName(option.flags), `${key} is the camelCase of ${option.flags}`);
  }
  return {
    ...declaration,
    arguments: declaration.arguments ?? [],
    commands: [],
    execute: (ctx, values, args) =>
      declaration.run(ctx, values as OptionValues<O> & CommonValues, args),
  };
}

/** Declares a group: a word with commands under it, such as `add`. */
export function defineGroup(group: CommandTexts & { commands: readonly Command[] }): Command {
  return { ...group, options: {}, arguments: [], execute: null };
}

/** The long name of an option: "--pool-size" of "--pool-size <SIZE>". */
export function longName(flags: string): string {
  const match = /--[a-z0-9-]+/.exec(flags);
  invariant(match !== null, `${flags} has a long name`);
  return match[0];
}

/** The key of an option's value: "poolSize" of "--pool-size <SIZE>". */
export function attributeName(flags: string): string {
  return longName(flags).slice(2).replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}
