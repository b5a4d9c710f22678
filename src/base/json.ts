// JSON from outside, of which nothing is known yet.

import { fittedOrNull, object } from "./json_form.ts";

/** The object that `text` is; null when it is not JSON, or JSON of something else. */
export function parseJsonObject(text: string): Record<string, unknown> | null {
  try {
    return fittedOrNull(object, JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
