// Short runs for `make test`, long ones for `make soak` (SOAK=1): the same tests, other amounts.

/** Whether this is the long run. */
export const IS_SOAK = Deno.env.get("SOAK") === "1";

/** `short` in a test run, `long` in a soak. */
export function scaled<T extends number | string>(short: T, long: T): T {
  return IS_SOAK ? long : short;
}
