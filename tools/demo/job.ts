// What the demo hands to the machine that has ublk: this one, or a guest that reads it as JSON.

export interface DemoJob {
  /** Path of hyper-io-replica. */
  readonly program: string;
  /** The drive: a block device or a file of the right size. */
  readonly primary: string;
  /** Folder for everything that is made: file replica, image, mount points, socket, log. */
  readonly directory: string;
  /** Root below which format creates the replica. */
  readonly replicaRoot: string;
  /** Settings that the program takes from the environment; shown to the reader. */
  readonly env: Readonly<Record<string, string>>;
  readonly files: FileSet;
  /** A terminal reads: a line may be drawn over and bold is bold. */
  readonly isTerminal: boolean;
  /** The machine ends with the demo, and with it its mounts, devices and daemons. */
  readonly isDisposable: boolean;
}

/** Files of this machine that are copied and looked for again. */
export interface FileSet {
  /** One path per line, relative to "/". */
  readonly listPath: string;
  /** Their SHA-256 as sha256sum writes them. */
  readonly sumsPath: string;
  readonly count: number;
  readonly totalBytes: number;
}

/** Where the job puts its things; all in the job's folder. */
export const NAMES = {
  socket: ".ioreplica",
  run: "run",
  mounted: "mounted",
  image: "restored.img",
  restored: "restored",
  /** Holds why a guest's run failed. */
  failure: "failure",
} as const;
