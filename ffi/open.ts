// Opening shared libraries. Owns: the search order and the error an operator sees when a library is
// missing. Nothing is opened at import: every caller asks explicitly, once per thread.

import { messageOf, ReplicaError } from "../src/base/errors.ts";

export interface LibrarySource {
  /** Names tried in order; a bare name goes through the loader's search path. */
  readonly names: readonly string[];
  /** The Debian package that ships the library, for the error message. */
  readonly debianPackage: string;
  /** Environment variable whose value, when set, is the only name that is tried. */
  readonly overrideVariable?: string;
}

/** Opens the first of `source.names` that loads; throws a kernel error naming the package if none. */
export function openLibrary<S extends Deno.ForeignLibraryInterface>(
  source: LibrarySource,
  symbols: S,
): Deno.DynamicLibrary<S> {
  const override = source.overrideVariable && Deno.env.get(source.overrideVariable);
  const names = override ? [override] : source.names;
  const reasons: string[] = [];
  for (const name of names) {
    try {
      return Deno.dlopen(name, symbols);
    } catch (error) {
      reasons.push(messageOf(error));
    }
  }
  throw new ReplicaError("kernel", `Cannot load ${names.join(" or ")}: ${reasons[0]}`, {
    hint: `Install the package: apt-get install ${source.debianPackage}`,
    context: { library: names[0], package: source.debianPackage },
  });
}
