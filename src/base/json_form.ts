// Forms of JSON that another process wrote, perhaps another version of this program: what must be there
// and of which type. Members that a form does not name are left alone. Pure.

/**
 * Gives back `value`, known to be a T, or throws a MisfitError. `name` is what the value is called in
 * that error: "result.pool.sizeBytes".
 */
export type Form<T> = (value: unknown, name: string) => T;

/** A value is not what its form says. */
export class MisfitError extends Error {}

export function text(value: unknown, name: string): string {
  return typeof value === "string" ? value : misfit(name, "text");
}

export function flag(value: unknown, name: string): boolean {
  return typeof value === "boolean" ? value : misfit(name, "true or false");
}

/** Any number; JSON has no NaN and no infinity. */
export function number(value: unknown, name: string): number {
  return typeof value === "number" ? value : misfit(name, "a number");
}

/** A whole number from 0 to 2^53 - 1: sizes, counts, numbers of things. */
export function natural(value: unknown, name: string): number {
  const fits = typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
  return fits ? value : misfit(name, "a whole number");
}

/** Any object but a list. */
export function object(value: unknown, name: string): Record<string, unknown> {
  const fits = typeof value === "object" && value !== null && !Array.isArray(value);
  return fits ? value as Record<string, unknown> : misfit(name, "an object");
}

/** One of these values, compared with ===. */
export function oneOf<const T>(values: readonly T[]): Form<T> {
  return (value, name) =>
    values.find((one) => one === value) ?? misfit(name, `one of ${values.join(", ")}`);
}

export function orNull<T>(form: Form<T>): Form<T | null> {
  return (value, name) => value === null ? null : form(value, name);
}

/** A member that may be left out. */
export function optional<T>(form: Form<T>): Form<T | undefined> {
  return (value, name) => value === undefined ? undefined : form(value, name);
}

export function listOf<T>(form: Form<T>): Form<readonly T[]> {
  return (value, name) => {
    if (!Array.isArray(value)) return misfit(name, "a list");
    value.forEach((one, index) => form(one, `${name}[${index}]`));
    return value as T[];
  };
}

/** An object whose members have any names and all the same form. */
export function recordOf<T>(form: Form<T>): Form<Readonly<Record<string, T>>> {
  return (value, name) => {
    const fields = object(value, name);
    for (const [key, one] of Object.entries(fields)) form(one, `${name}.${key}`);
    return fields as Record<string, T>;
  };
}

/** An object with at least these members: the compiler wants all of T's. */
export function objectOf<T extends object>(
  members: { readonly [K in keyof T]-?: Form<T[K]> },
): Form<T> {
  return (value, name) => {
    const fields = object(value, name);
    for (const key in members) members[key](fields[key], `${name}.${key}`);
    return fields as T;
  };
}

/** `value` as a T; null when it is none. */
export function fittedOrNull<T>(form: Form<T>, value: unknown): T | null {
  try {
    return form(value, "value");
  } catch (error) {
    if (error instanceof MisfitError) return null;
    throw error;
  }
}

function misfit(name: string, what: string): never {
  throw new MisfitError(`${name} is not ${what}`);
}
