// The C library's calls that the project uses, with their C declarations. 64-bit integers are
// always passed as bigint: a number takes a slow path that costs 10 to 30 times as much.
//
// Invariant: a failed call returns -1 and leaves errno for errno.ts to read, on the same thread and
// before any other call. The *Async symbols run on another thread, so their errno is lost; whoever
// uses them repeats a failed call synchronously to learn the reason (see errno.ts).

import { openLibrary } from "./open.ts";

const LIBC_SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" }, // int *__errno_location(void)

  // Files
  open: {
    parameters: [
      "buffer", // const char *path, NUL-terminated (memory.ts: cString)
      "i32", // int flags
      "u32", // mode_t mode
    ],
    result: "i32",
  },
  close: { parameters: ["i32" /* int fd */], result: "i32" },
  read: {
    parameters: ["i32", /* int fd */ "buffer", /* void *buf */ "usize" /* size_t count */],
    result: "isize",
  },
  write: {
    parameters: ["i32", /* int fd */ "buffer", /* const void *buf */ "usize" /* size_t count */],
    result: "isize",
  },
  pread: {
    parameters: [
      "i32", // int fd
      "buffer", // void *buf
      "usize", // size_t count
      "i64", // off_t offset
    ],
    result: "isize",
  },
  pwrite: {
    parameters: [
      "i32", // int fd
      "buffer", // const void *buf
      "usize", // size_t count
      "i64", // off_t offset
    ],
    result: "isize",
  },
  fsync: { parameters: ["i32" /* int fd */], result: "i32" },
  fdatasync: { parameters: ["i32" /* int fd */], result: "i32" },
  fallocate: {
    parameters: [
      "i32", // int fd
      "i32", // int mode: FALLOC_FL_*
      "i64", // off_t offset
      "i64", // off_t len
    ],
    result: "i32",
  },
  ftruncate: { parameters: ["i32", /* int fd */ "i64" /* off_t length */], result: "i32" },
  lseek: {
    parameters: ["i32", /* int fd */ "i64", /* off_t offset */ "i32" /* int whence */],
    result: "i64",
  },
  statx: {
    parameters: [
      "i32", // int dirfd
      "buffer", // const char *path
      "i32", // int flags
      "u32", // unsigned int mask
      "buffer", // struct statx *statxbuf
    ],
    result: "i32",
  },
  flock: { parameters: ["i32", /* int fd */ "i32" /* int operation */], result: "i32" },
  ioctl: {
    parameters: [
      "i32", // int fd
      "usize", // unsigned long request
      "buffer", // void *arg
    ],
    result: "i32",
  },
  pipe2: { parameters: ["buffer", /* int pipefd[2] */ "i32" /* int flags */], result: "i32" },

  close_range: {
    parameters: ["u32", /* unsigned first */ "u32", /* unsigned last */ "i32" /* int flags */],
    result: "i32",
  },

  // The same on a thread of their own: the event loop goes on meanwhile
  preadAsync: {
    name: "pread",
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "isize",
    nonblocking: true,
  },
  pwriteAsync: {
    name: "pwrite",
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "isize",
    nonblocking: true,
  },
  madviseAsync: {
    name: "madvise",
    parameters: ["usize", "usize", "i32"],
    result: "i32",
    nonblocking: true,
  },
  fdatasyncAsync: { name: "fdatasync", parameters: ["i32"], result: "i32", nonblocking: true },
  fallocateAsync: {
    name: "fallocate",
    parameters: ["i32", "i32", "i64", "i64"],
    result: "i32",
    nonblocking: true,
  },

  // Returns the error number itself.
  posixFadviseAsync: {
    name: "posix_fadvise",
    parameters: ["i32", /* int fd */ "i64", /* off_t offset */ "i64", /* off_t len */ "i32"],
    result: "i32",
    nonblocking: true,
  },

  // Memory
  mmap: {
    parameters: [
      "usize", // void *addr
      "usize", // size_t length
      "i32", // int prot
      "i32", // int flags
      "i32", // int fd
      "i64", // off_t offset
    ],
    result: "usize", // MAP_FAILED is (void *)-1
  },
  munmap: {
    parameters: ["usize", /* void *addr */ "usize" /* size_t length */],
    result: "i32",
  },
  mlock: {
    parameters: ["usize", /* const void *addr */ "usize" /* size_t len */],
    result: "i32",
  },
  madvise: {
    parameters: ["usize", /* void *addr */ "usize", /* size_t len */ "i32" /* int advice */],
    result: "i32",
  },

  getpagesize: { parameters: [], result: "i32" }, // int getpagesize(void)

  // Events, threads, processes
  eventfd: {
    parameters: ["u32", /* unsigned int initval */ "i32" /* int flags */],
    result: "i32",
  },
  setpriority: {
    parameters: [
      "i32", // int which: PRIO_PROCESS
      "u32", // id_t who: 0 is the calling thread
      "i32", // int prio: the nice value
    ],
    result: "i32",
  },
  setsid: { parameters: [], result: "i32" }, // pid_t setsid(void)
  prctl: {
    parameters: [
      "i32", // int option
      "usize", // unsigned long arg2
      "usize", // unsigned long arg3
      "usize", // unsigned long arg4
      "usize", // unsigned long arg5
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The opened C library's functions. */
export type Libc = Deno.DynamicLibrary<typeof LIBC_SYMBOLS>["symbols"];

let opened: Libc | undefined;

/** Opens the C library for this thread; later calls return the same functions. */
export function openLibc(): Libc {
  opened ??= openLibrary({ names: ["libc.so.6"], debianPackage: "libc6" }, LIBC_SYMBOLS).symbols;
  return opened;
}

// open(2) flags that differ between architectures; the rest are the same on all that Deno runs on.
const IS_ARM64 = Deno.build.arch === "aarch64";
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_CLOEXEC = 0o2000000;
export const O_DIRECT = IS_ARM64 ? 0o200000 : 0o40000;

// Advice to madvise(2).
export const POSIX_FADV_DONTNEED = 4;
export const MADV_HUGEPAGE = 14;
export const MADV_NOHUGEPAGE = 15;
/** Takes the pages from the system now; since Linux 5.14, EINVAL before. */
export const MADV_POPULATE_WRITE = 23;

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

export const LOCK_EX = 2;
export const LOCK_NB = 4;

export const PROT_READ = 1;
export const MAP_SHARED = 1;
export const MAP_POPULATE = 0x8000;

export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_ZERO_RANGE = 0x10;

export const EFD_CLOEXEC = 0o2000000;

export const PR_SET_IO_FLUSHER = 57;

const PRIO_PROCESS = 0;

const CLOSE_RANGE_CLOEXEC = 4;

/** Keeps programs that this process starts from inheriting any descriptor but the standard three. */
export function closeOnExec(): void {
  // Kernels before 5.11 refuse: the program then inherits what it does not know of, and lets it be.
  openLibc().close_range(3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
}

/** Of the calling thread alone. Lowering it needs CAP_SYS_NICE; refused, it stays as it is. */
export function setThreadNice(nice: number): void {
  openLibc().setpriority(PRIO_PROCESS, 0, nice);
}
