// What the main room does with the primary's dirty map: reads it before the start, makes sure of it
// before the queues rely on it, and empties it after a clean stop.
//
// Order at a clean stop: drained -> primary flushed -> map emptied -> marked clean. A power cut before the
// map is empty leaves regions that are resynced for nothing; one before `clean` an active device
// without dirty regions, which is what it is. Were it marked clean first, `clean` would not imply
// that the map is empty.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import type { roomLog } from "../base/log.ts";
import { dirtyMapPlace, type MapPlace } from "../format/primary_layout.ts";
import { type KeptMap, readDirtyMap } from "../primary/dirty_map.ts";
import type { Disk } from "../primary/disk.ts";
import type { PrimaryMetadata } from "../primary/metadata.ts";
import { clearAllIntents, declareAllDirty, loadIntents } from "../replicator/intent_pages.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../shared/counters.ts";
import { hasFlushFailed } from "../shared/failed_flush.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { StaleMap } from "../shared/stale_map.ts";

export interface TargetIntentsOptions {
  readonly views: SharedViews;
  readonly disk: Disk;
  readonly metadata: PrimaryMetadata;
  readonly clock: Clock;
  readonly log: Pick<ReturnType<typeof roomLog>, "warn">;
  /** False: every region counts as dirty until the device is stopped. */
  readonly kept: boolean;
}

export class TargetIntents {
  readonly #options: TargetIntentsOptions;
  readonly #place: MapPlace;
  readonly #loaded: KeptMap;

  private constructor(options: TargetIntentsOptions, loaded: KeptMap) {
    this.#options = options;
    this.#place = dirtyMapPlace(options.metadata.layout);
    this.#loaded = loaded;
  }

  /** Brings the map into the shared memory, before any other room sees that. Writes nothing. */
  static async load(options: TargetIntentsOptions): Promise<TargetIntents> {
    const { disk, metadata, views, clock } = options;
    const { layout, superblock: { uuid } } = metadata;
    const loaded = await readDirtyMap(disk, layout, uuid, clock.wallMs());
    loadIntents(views, loaded);
    return new TargetIntents(options, loaded);
  }

  /** For the queues; null: nothing is to be kept. */
  get place(): MapPlace | null {
    return this.#options.kept ? this.#place : null;
  }

  /** Before the queues start: what the memory says, the primary says too. */
  async declare(): Promise<void> {
    const { pages, doubtful } = this.#loaded;
    for (const { page, reason } of doubtful) {
      this.#options.log.warn("A page of the dirty map is damaged: its regions count as dirty", {
        page,
        reason,
      });
    }
    const declared = this.#options.kept ? doubtful : pages;
    await declareAllDirty(this.#writing(), declared.map(({ page }) => page));
  }

  /**
   * Throws where a drained pool does not mean that primary and replica are equal: of writes that nobody
   * captured, blocks that nobody could copy, and what a flush may have lost, only the map on the primary
   * tells.
   */
  requireCopied(): void {
    const { views } = this.#options;
    const map = new IntentMap(views);
    if (map.inFlight(0) + map.inFlight(1) > 0) {
      throw notCopied("a queue that broke left writes unfinished");
    }
    if (new StaleMap(views).count() > 0) {
      throw notCopied("some of its blocks were to be copied, and nobody is left to do it");
    }
    if (hasFlushFailed(views.words)) {
      throw notCopied("a flush of it failed, and it may not hold what the replica has");
    }
    const blocks = views.counters[replicatorCounters(views) + REPLICATOR_COUNTER.unreadableBlocks];
    if (blocks > 0) {
      throw notCopied(
        `${blocks} of its blocks could not be read, and the replica may lack what they hold`,
      );
    }
  }

  /** After a drained stop and a flush of the primary. */
  async clear(): Promise<void> {
    await clearAllIntents(this.#writing());
  }

  #writing() {
    const { views, disk, clock } = this.#options;
    return { views, disk, place: this.#place, clock };
  }
}

function notCopied(why: string): ReplicaError {
  return new ReplicaError("unavailable", `Cannot mark the primary clean: ${why}`, {
    hint:
      "The device is stopped. The next start copies their regions again; the daemon's log has more.",
  });
}
