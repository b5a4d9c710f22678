// A target's geometry as the parameters that SET_PARAMS takes. Pure.

import { invariant } from "../base/assert.ts";
import { isPowerOfTwo, MiB, SECTOR } from "../base/units.ts";
import type { DevParams } from "./control.ts";
import {
  Params,
  UBLK_ATTR_FUA,
  UBLK_ATTR_READ_ONLY,
  UBLK_ATTR_ROTATIONAL,
  UBLK_ATTR_VOLATILE_CACHE,
  UBLK_PARAM_TYPE_BASIC,
  UBLK_PARAM_TYPE_DISCARD,
} from "./uapi.ts";

/** Greatest range that one DISCARD or WRITE_ZEROES covers. */
export const ZERO_BYTES_MAX = 256 * MiB;

export interface DeviceGeometry {
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  /** Greatest READ or WRITE. */
  readonly bufferBytes: number;
  readonly readOnly: boolean;
  readonly rotational: boolean;
  /** Acknowledged writes may be lost in a power cut until a FLUSH. */
  readonly volatileCache: boolean;
  /** Whether DISCARD and WRITE_ZEROES are offered. */
  readonly zeroing: boolean;
}

export function deviceParams(geometry: DeviceGeometry): DevParams {
  const { sizeBytes, logicalBlockBytes, physicalBlockBytes } = geometry;
  invariant(isPowerOfTwo(logicalBlockBytes), "a logical block is a power of two");
  invariant(isPowerOfTwo(physicalBlockBytes), "a physical block is a power of two");
  invariant(logicalBlockBytes <= physicalBlockBytes, "a physical block holds logical blocks");
  invariant(sizeBytes % logicalBlockBytes === 0, "a device consists of logical blocks");
  const zeroSectors = geometry.zeroing ? ZERO_BYTES_MAX / SECTOR : 0;
  return {
    len: Params.size,
    types: UBLK_PARAM_TYPE_BASIC | (geometry.zeroing ? UBLK_PARAM_TYPE_DISCARD : 0),
    attrs: attributes(geometry),
    logicalBsShift: Math.log2(logicalBlockBytes),
    physicalBsShift: Math.log2(physicalBlockBytes),
    ioOptShift: Math.log2(physicalBlockBytes),
    ioMinShift: Math.log2(physicalBlockBytes),
    maxSectors: geometry.bufferBytes / SECTOR,
    chunkSectors: 0,
    devSectors: sizeBytes / SECTOR,
    virtBoundaryMask: 0n,
    discardAlignment: 0,
    discardGranularity: geometry.zeroing ? physicalBlockBytes : 0,
    maxDiscardSectors: zeroSectors,
    maxWriteZeroesSectors: zeroSectors,
    // The driver refuses more than one range per request.
    maxDiscardSegments: geometry.zeroing ? 1 : 0,
    charMajor: 0,
    charMinor: 0,
    diskMajor: 0,
    diskMinor: 0,
    tail: 0,
  };
}

/** A cache that does not exist is not advertised: the kernel then sends neither FLUSH nor FUA. */
function attributes(geometry: DeviceGeometry): number {
  return (geometry.readOnly ? UBLK_ATTR_READ_ONLY : 0) |
    (geometry.rotational ? UBLK_ATTR_ROTATIONAL : 0) |
    (geometry.volatileCache ? UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA : 0);
}
