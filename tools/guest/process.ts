// Running this machine's programs for the guest runner.

/** Runs a program to its end and returns its stdout; throws with its stderr when it fails. */
export async function run(
  program: string,
  args: readonly string[],
  options: { cwd?: string } = {},
): Promise<string> {
  const output = await new Deno.Command(program, {
    args: [...args],
    cwd: options.cwd,
    stdin: "null",
    env: { LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
  }).output();
  const decoder = new TextDecoder();
  if (!output.success) {
    const reason = decoder.decode(output.stderr).trim().split("\n").slice(-5).join("\n");
    throw new Error(`${program} failed with ${output.code}: ${reason}`);
  }
  return decoder.decode(output.stdout);
}

/**
 * Starts a program that ends with this process, even if this process is killed. Must be called from
 * a thread that lives as long as the program may.
 */
export function spawnBound(
  program: string,
  args: readonly string[],
  options: { stdin?: "inherit" | "null"; stdout?: "inherit" | "null" | "piped" } = {},
): Deno.ChildProcess {
  return new Deno.Command("setpriv", {
    args: ["--pdeathsig", "KILL", program, ...args],
    stdin: options.stdin ?? "null",
    stdout: options.stdout ?? "null",
    stderr: "piped",
  }).spawn();
}

/** Ends a child; fine if it has ended already. */
export function killChild(
  child: Deno.ChildProcess,
  signal: "SIGKILL" | "SIGTERM" = "SIGKILL",
): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // TypeError: it has ended
  }
}
