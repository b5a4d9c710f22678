// What becomes of a resync that was cut short, at the start: it goes on with the segments that it had
// staged, or they are given up and their regions are dirty again.
//
//   goes on    the map's segments stand there whole, after the replica's newest checkpoint, and nobody
//              else has claimed the replica meanwhile: an earlier writer could still be about to empty
//              them. What is staged above them is settled as any orphan: its regions are dirty.
//   given up   dirty |= staged, durable --> staged map empty, durable --> only then are segments emptied
//
// So while the map names segments they stand, whatever cut the start short. A map that names another
// checkpoint than the newest speaks of nothing: what was staged after it was published with the next one.
// Until the primary has a record of that one its regions are given up all the same: the maps have to name
// what a checkpoint without a record holds (marked_blocks.ts).
//
// Callers: attach.ts, room.ts.

import type { Clock } from "../base/clock.ts";
import { hit } from "../base/failpoints.ts";
import { dirtyMapPlace, type PrimaryLayout } from "../format/primary_layout.ts";
import type { RegionPage, StagedTag } from "../format/region_map.ts";
import type { Disk } from "../primary/disk.ts";
import type { KnownInode } from "../replica/inode_reader.ts";
import type { ObjectStore, RequestOptions } from "../replica/object_store.ts";
import { readStagedTail, type StagedTail } from "../replica/staged_tail.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { declareDirty } from "./intent_pages.ts";
import type { StagedMap } from "./staged_map.ts";

export interface StagedStartOptions {
  readonly views: SharedViews;
  readonly disk: Disk;
  readonly layout: PrimaryLayout;
  readonly map: StagedMap;
  readonly clock: Clock;
}

/** Segments that can be gone on with, and how the map names them. */
export interface StagedFound {
  readonly tag: StagedTag;
  readonly tail: StagedTail;
}

export class StagedStart {
  readonly #options: StagedStartOptions;

  constructor(options: StagedStartOptions) {
    this.#options = options;
  }

  /** Null: there is nothing to go on with. */
  async find(
    store: ObjectStore,
    head: KnownInode,
    { isUnbroken, ...options }: RequestOptions & { isUnbroken: boolean },
  ): Promise<StagedFound | null> {
    const tag = this.#options.map.chainAfter(head.inode.lastCno);
    if (tag === null || !isUnbroken) return null;
    const tail = await readStagedTail(store, head.inode, tag.segmentId, options);
    return tail && { tag, tail };
  }

  /** Regions that become dirty when what is staged after `fromCno` or later is given up, or goes on. */
  undeclaredRegions(fromCno: number, resumes: boolean): number {
    const map = new IntentMap(this.#options.views);
    return this.#toDeclare(resumes ? Infinity : fromCno)
      .reduce((sum, { page, bits }) => sum + map.countUnnamed(page, bits), 0);
  }

  /** Goes on with what was found: from here on the map in memory speaks of that. */
  async resume(tag: StagedTag, isWhole: boolean): Promise<void> {
    await this.#giveUp(this.#toDeclare(Infinity), [...this.#options.map.doubtful]);
    this.#options.map.resume({ ...tag, isWhole });
    await hit("attach.before-resume");
  }

  /**
   * Gives up what is staged; that after `fromCno` or later is not published, or not recorded. Durable when
   * it resolves.
   */
  async giveUp(fromCno: number): Promise<void> {
    const { map } = this.#options;
    const named = map.pages.filter(({ page, staged }) => staged !== null || map.doubtful.has(page));
    await this.#giveUp(this.#toDeclare(fromCno), named.map(({ page }) => page));
  }

  async #giveUp(dirty: readonly RegionPage[], empty: readonly number[]): Promise<void> {
    const { views, disk, layout, clock, map } = this.#options;
    if (empty.length === 0) return;
    await hit("attach.before-give-up");
    await declareDirty({ views, disk, place: dirtyMapPlace(layout), clock }, dirty);
    await hit("attach.between-give-up");
    await map.empty(empty);
    await hit("attach.after-give-up");
  }

  /** Pages whose regions are not on the replica, or not for certain, or without a record. */
  #toDeclare(fromCno: number): RegionPage[] {
    const { map } = this.#options;
    return map.pages.filter(({ page, staged }) =>
      map.doubtful.has(page) || staged !== null && staged.baseCno >= fromCno
    );
  }
}
