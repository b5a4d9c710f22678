// Where and when a benchmark ran: figures mean nothing without it.

const ROOT = new URL("../../", import.meta.url).pathname;

export interface Machine {
  readonly date: string;
  readonly commit: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly deno: string;
  /** Load averages when it began: above 0, others were using the machine. */
  readonly load: string;
}

export async function describeMachine(): Promise<Machine> {
  const cpuinfo = await Deno.readTextFile("/proc/cpuinfo");
  return {
    date: new Date().toISOString().slice(0, 16) + "Z",
    commit: await commit(),
    cpu: /^model name\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    memoryGiB: Math.round(Deno.systemMemoryInfo().total / 2 ** 30),
    kernel: `Linux ${Deno.osRelease()}`,
    deno: Deno.version.deno,
    load: Deno.loadavg().map((value) => value.toFixed(1)).join(" "),
  };
}

/** The commit that is measured; a source archive has none. */
async function commit(): Promise<string> {
  try {
    const args = ["-c", `safe.directory=${ROOT.slice(0, -1)}`, "describe", "--always", "--dirty"];
    const output = await new Deno.Command("git", { args, cwd: ROOT }).output();
    return output.success ? new TextDecoder().decode(output.stdout).trim() : "no commit";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "no commit";
    throw error;
  }
}
