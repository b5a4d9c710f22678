// Paths as other processes need them: daemons and "list" are asked from anywhere.

/** The path from the root, without changing what it names (links and ".." stay). */
export function absolutePath(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path.replace(/^(?:\.\/+)+/, "")}`;
}

/** A path of a socket that works from any directory and is short enough for an address. */
export function reachableSocket(path: string, pid: number): string {
  const full = absolutePath(path);
  if (new TextEncoder().encode(full).length <= 107) return full;
  return `/proc/${pid}/cwd/${path.replace(/^(?:\.\/+)+/, "")}`;
}
