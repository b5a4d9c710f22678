// Short runs for `make test`, long ones for `make soak` (SOAK=1): the same tests, other amounts.

/** `short` in a test run, `long` in a soak. */
export function scaled<T extends number | string>(short: T, long: T): T {
  return Deno.env.get("SOAK") === "1" ? long : short;
}
