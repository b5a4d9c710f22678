// The table of commands as a commander program: parsing, help and did-you-mean are commander's,
// the wording of errors and the exit codes are ours.

import { Command as Program, CommanderError, Option } from "commander";
import { usageError } from "../base/errors.ts";
import {
  attributeName,
  type CliArgument,
  type CliOption,
  type Command,
  longName,
  type OptionTable,
} from "./command.ts";
import type { Context } from "./context.ts";
import { commonOptions } from "./options.ts";
import { PROGRAM } from "./report.ts";

/** Receives the command that was asked for, its values and its arguments. */
export type Chosen = (
  command: Command,
  values: Readonly<Record<string, unknown>>,
  args: readonly (string | undefined)[],
) => Promise<void>;

export interface ProgramTexts {
  readonly version: string;
  readonly description: string;
  readonly notes: string;
  readonly commands: readonly (readonly [heading: string, commands: readonly Command[]])[];
}

/** Builds the program; parse it with {@link parseCommandLine}. */
export function buildProgram(ctx: Context, texts: ProgramTexts, chosen: Chosen): Program {
  const program = new Program(PROGRAM);
  program
    .description(texts.description)
    .version(texts.version, "-V, --version", "Print the version")
    .helpOption("-h, --help", "Print this help")
    .helpCommand("help [command]", "Print the help of a command")
    .addHelpText("after", `\n${texts.notes}`);
  configure(program, ctx);
  for (const [heading, commands] of texts.commands) {
    program.commandsGroup(heading);
    for (const command of commands) addCommand(program, ctx, command, chosen);
  }
  program.commandsGroup("Help:");
  return program;
}

/** Parses `argv` and runs what it asks for; errors of the command line are usage errors. */
export async function parseCommandLine(program: Program, argv: readonly string[]): Promise<void> {
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return; // --help and --version
    throw commandLineError(commandPath(program, argv), error);
  }
}

function configure(program: Program, ctx: Context): void {
  program
    .exitOverride()
    .allowExcessArguments(false)
    .configureHelp({ helpWidth: Math.min(100, ctx.stdout.columns) })
    .configureOutput({
      writeOut: (text) => ctx.stdout.write(text),
      writeErr: () => {}, // everything that is written here is thrown too; run() reports it once
      outputError: () => {},
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
}

function addCommand(parent: Program, ctx: Context, command: Command, chosen: Chosen): void {
  const node = parent.command(command.name).summary(command.summary)
    .description(`${command.summary}.\n\n${command.description}`)
    .helpOption("-h, --help", "Print this help");
  configure(node, ctx);
  const notes = [examplesText(command), command.notes].filter((text) => text !== undefined);
  if (notes.length > 0) node.addHelpText("after", "\n" + notes.join("\n\n"));
  if (command.execute === null) {
    for (const child of command.commands) addCommand(node, ctx, child, chosen);
    return;
  }
  if (command.passThrough) node.allowUnknownOption().allowExcessArguments();
  const options: OptionTable = { ...command.options, ...commonOptions };
  for (const option of Object.values(options)) node.addOption(commanderOption(option));
  for (const argument of command.arguments) addArgument(node, argument);
  node.action(async () => {
    await chosen(command, valuesOf(node.opts(), options), node.args);
  });
}

function commanderOption(declared: CliOption<unknown>): Option {
  const summary = declared.defaultText === undefined
    ? declared.summary
    : `${declared.summary} [default: ${declared.defaultText}]`;
  const option = new Option(declared.flags, declared.required ? `${summary} (required)` : summary);
  if (declared.group !== undefined) option.helpGroup(declared.group);
  // Values stay text here: they are read when the whole line is known to be well-formed.
  let given = false;
  option.argParser((text: string) => {
    const name = longName(declared.flags);
    if (given) throw usageError(`Cannot read the command line: ${name} is given twice`);
    given = true;
    return checkedText(text, name);
  });
  return option;
}

/** A value that begins with a dash is nearly always the next option: the value was forgotten. */
function checkedText(text: string, name: string): string {
  if (/^--?[a-z]/i.test(text)) {
    throw usageError(`Cannot read ${name}: its value is missing before "${text}"`, {
      hint: "Write ./ before a file name that begins with a dash.",
    });
  }
  if (text === "") throw usageError(`Cannot read ${name}: its value is empty`);
  return text;
}

function addArgument(node: Program, argument: CliArgument): void {
  const name = argument.required ? `<${argument.name}>` : `[${argument.name}]`;
  node.argument(name, argument.summary);
}

function valuesOf(raw: Record<string, unknown>, options: OptionTable): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(options)) {
    const text = raw[attributeName(option.flags)];
    values[key] = text === true || typeof text === "string" ? option.read(text) : option.fallback;
  }
  // Only now, so that a wrong or refused option is named before a missing one.
  for (const [key, option] of Object.entries(options)) {
    if (option.required && values[key] === undefined) {
      throw usageError(`Cannot read the command line: ${option.flags} is missing`);
    }
  }
  return values;
}

function examplesText(command: Command): string | undefined {
  if (command.examples === undefined || command.examples.length === 0) return undefined;
  const lines = command.examples.map(([line, meaning]) =>
    `  # ${meaning}\n  ${PROGRAM} ${line.replaceAll("\n", "\n      ")}`
  );
  return `Examples:\n${lines.join("\n")}`;
}

/** commander's "error: unknown option '--dpeth'\n(Did you mean --depth?)" as a usage error. */
function commandLineError(path: readonly string[], error: CommanderError): Error {
  const [first, ...more] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = more.join(" ").replace(/^\(|\)$/g, "");
  if (error.code === "commander.help") {
    return usageError("Cannot read the command line: no command is given", {
      hint: `Run "${PROGRAM} --help" for the commands.`,
    });
  }
  const see = `Run "${[...path, "--help"].join(" ")}" for what there is.`;
  return usageError(`Cannot read the command line: ${first}`, {
    hint: suggestion === "" ? see : `${suggestion} ${see}`,
  });
}

/** The words of `argv` that name a command: "hyper-io-replica add loop". */
function commandPath(program: Program, argv: readonly string[]): string[] {
  const path = [PROGRAM];
  let node: Program | undefined = program;
  for (const word of argv) {
    node = node.commands.find((command) => command.name() === word);
    if (node === undefined) break;
    path.push(word);
  }
  return path;
}
