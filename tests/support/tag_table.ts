// The requests of a queue's tags, for stand-ins of its TargetQueue: what is asked of a tag, and where
// its buffer lies in the shared memory. What an I/O does is the subclass's business.

import { SECTOR } from "../../src/base/units.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import { assert } from "./assert.ts";

export interface TagRequest {
  readonly op: number;
  readonly flags: number;
  readonly startSector: number;
  readonly sectors: number;
}

export abstract class TagTable<Request extends TagRequest> {
  readonly offsetBytes: Float64Array;
  protected readonly strideBytes: number;
  readonly #requests: (Request | null)[];
  readonly #memory: Uint8Array;
  readonly #bufferOffset: number;

  constructor(views: SharedViews, qid: number) {
    const { depth, tagStrideBytes, tagBuffersOffset } = views.layout;
    this.offsetBytes = new Float64Array(depth);
    this.strideBytes = tagStrideBytes;
    this.#requests = Array(depth).fill(null);
    this.#memory = views.memory;
    this.#bufferOffset = tagBuffersOffset + qid * depth * tagStrideBytes;
  }

  freeTag(): number {
    return this.#requests.indexOf(null);
  }

  get busy(): boolean {
    return this.#requests.some((request) => request !== null);
  }

  buffer(tag: number): Uint8Array {
    const offset = this.#bufferOffset + tag * this.strideBytes;
    return this.#memory.subarray(offset, offset + this.strideBytes);
  }

  op(tag: number): number {
    return this.request(tag).op;
  }

  flags(tag: number): number {
    return this.request(tag).flags;
  }

  locate(tag: number): void {
    this.offsetBytes[tag] = this.request(tag).startSector * SECTOR;
  }

  sectors(tag: number): number {
    return this.request(tag).sectors;
  }

  protected request(tag: number): Request {
    const request = this.#requests[tag];
    assert(request !== null, "only a tag with a request is looked at, and answered once");
    return request;
  }

  protected put(tag: number, request: Request): void {
    this.#requests[tag] = request;
  }

  /** The request is answered: the tag is free. */
  protected take(tag: number): Request {
    const request = this.request(tag);
    this.#requests[tag] = null;
    return request;
  }
}
