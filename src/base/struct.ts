// Fixed-layout little-endian records, declared once in their on-disk order.
//
// Invariants, checked when a record is declared (at import):
// - the fields fill the stated size exactly;
// - every integer lies at a multiple of its own width, so no compiler would insert padding;
// - reserved bytes are fields too (`zero(n)`): written as 0 and required to be 0 when read.
//
// decode() and encode() make or take a plain object: for cold paths. Hot paths index typed arrays
// with `Record.offset.field`, so a literal offset is never needed.

import { dataError } from "./errors.ts";
import { invariant } from "./assert.ts";

interface Field<T> {
  readonly type: string;
  readonly size: number;
  readonly align: number;
  read(view: DataView, at: number, name: string): T;
  write(view: DataView, at: number, value: T): void;
}

function integer<T extends number | bigint>(
  type: string,
  size: number,
  get: (view: DataView, at: number) => T,
  set: (view: DataView, at: number, value: T) => void,
): Field<T> {
  return { type, size, align: size, read: get, write: set };
}

export const u8 = integer("u8", 1, (v, at) => v.getUint8(at), (v, at, n) => v.setUint8(at, n));
export const u16 = integer(
  "u16",
  2,
  (v, at) => v.getUint16(at, true),
  (v, at, n) => v.setUint16(at, n, true),
);
export const u32 = integer(
  "u32",
  4,
  (v, at) => v.getUint32(at, true),
  (v, at, n) => v.setUint32(at, n, true),
);
export const i32 = integer(
  "i32",
  4,
  (v, at) => v.getInt32(at, true),
  (v, at, n) => v.setInt32(at, n, true),
);
/** A 64-bit integer as a bigint: identities, flags, addresses. */
export const u64 = integer(
  "u64",
  8,
  (v, at) => v.getBigUint64(at, true),
  (v, at, n) => v.setBigUint64(at, n, true),
);
/** A 64-bit integer as a number: sizes and offsets up to 2^53 - 1. Greater values are a data error. */
export const size64: Field<number> = {
  type: "u64",
  size: 8,
  align: 8,
  read(view, at, name) {
    const value = Number(view.getBigUint64(at, true));
    if (!Number.isSafeInteger(value)) {
      throw dataError(`Cannot read ${name}: ${view.getBigUint64(at, true)} is above 2^53`);
    }
    return value;
  },
  write(view, at, value) {
    invariant(Number.isSafeInteger(value) && value >= 0, `${value} fits an unsigned size`);
    view.setBigUint64(at, BigInt(value), true);
  },
};

/** `n` raw bytes; reading copies them. */
export function bytes(n: number): Field<Uint8Array> {
  return {
    type: `u8[${n}]`,
    size: n,
    align: 1,
    read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, n).slice(),
    write(view, at, value) {
      invariant(value.length === n, `${value.length} bytes fill a field of ${n}`);
      new Uint8Array(view.buffer, view.byteOffset + at, n).set(value);
    },
  };
}

/** UTF-8 text in `n` bytes, padded with NUL. */
export function text(n: number): Field<string> {
  return {
    type: `utf8[${n}]`,
    size: n,
    align: 1,
    read(view, at, name) {
      const raw = new Uint8Array(view.buffer, view.byteOffset + at, n).slice();
      const end = raw.indexOf(0);
      try {
        return new TextDecoder("utf-8", { fatal: true }).decode(raw.subarray(0, end < 0 ? n : end));
      } catch (cause) {
        throw dataError(`Cannot read ${name}: not valid UTF-8`, { cause });
      }
    },
    write(view, at, value) {
      const raw = new TextEncoder().encode(value);
      invariant(raw.length <= n, `text of ${raw.length} bytes fits a field of ${n}`);
      const out = new Uint8Array(view.buffer, view.byteOffset + at, n);
      out.fill(0);
      out.set(raw);
    },
  };
}

/** `n` reserved bytes: written as 0; anything else, when read, is a data error. */
export function zero(n: number): Field<null> {
  return {
    type: `zero[${n}]`,
    size: n,
    align: 1,
    read(view, at, name) {
      for (let i = at; i < at + n; i++) {
        if (view.getUint8(i) !== 0) throw dataError(`Cannot read ${name}: reserved bytes are set`);
      }
      return null;
    },
    write(view, at) {
      new Uint8Array(view.buffer, view.byteOffset + at, n).fill(0);
    },
  };
}

// deno-lint-ignore no-explicit-any -- a record mixes field types; values are typed by Values<F>
type Fields = Readonly<Record<string, Field<any>>>;
type Value<F> = F extends Field<infer T> ? T : never;
/** The plain object of a record: reserved fields are left out. */
export type Values<F extends Fields> = {
  -readonly [K in keyof F as Value<F[K]> extends null ? never : K]: Value<F[K]>;
};

export interface StructRow {
  readonly field: string;
  readonly type: string;
  readonly offset: number;
  readonly size: number;
}

export interface Struct<F extends Fields> {
  readonly name: string;
  readonly size: number;
  /** Byte offset of each field from the record's start. */
  readonly offset: { readonly [K in keyof F]: number };
  readonly rows: readonly StructRow[];
  /** Reads a record at `at`; throws a data error on reserved bytes that are set or a short view. */
  decode(view: DataView, at?: number): Values<F>;
  encode(view: DataView, at: number, values: Values<F>): void;
  /** A new buffer of exactly one record. */
  toBytes(values: Values<F>): Uint8Array<ArrayBuffer>;
}

/** The type of the values of a declared record: `type Inode = ValuesOf<typeof InodeRecord>`. */
export type ValuesOf<S> = S extends Struct<infer F> ? Values<F> : never;

/** Declares a record of `size` bytes with `fields` in their on-disk order. */
export function struct<F extends Fields>(name: string, size: number, fields: F): Struct<F> {
  const rows: StructRow[] = [];
  let end = 0;
  for (const [field, { type, size, align }] of Object.entries(fields)) {
    invariant(end % align === 0, `${name}.${field} at ${end} is aligned to ${align}`);
    rows.push({ field, type, offset: end, size });
    end += size;
  }
  invariant(end === size, `the fields of ${name} fill ${size} bytes, not ${end}`);
  const offset = Object.fromEntries(rows.map((row) => [row.field, row.offset]));

  function decode(view: DataView, at = 0): Values<F> {
    if (at + size > view.byteLength) {
      throw dataError(`Cannot read ${name}: ${view.byteLength - at} bytes of ${size}`);
    }
    const values: Record<string, unknown> = {};
    for (const row of rows) {
      const value = fields[row.field].read(view, at + row.offset, `${name}.${row.field}`);
      if (value !== null) values[row.field] = value;
    }
    return values as Values<F>;
  }

  function encode(view: DataView, at: number, values: Values<F>): void {
    for (const row of rows) {
      const value = (values as Record<string, unknown>)[row.field] ?? null;
      fields[row.field].write(view, at + row.offset, value);
    }
  }

  function toBytes(values: Values<F>): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(size);
    encode(new DataView(out.buffer), 0, values);
    return out;
  }

  return { name, size, rows, offset: offset as Struct<F>["offset"], decode, encode, toBytes };
}

/** A DataView over exactly the bytes of `bytes`. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
