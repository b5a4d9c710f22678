// Code that shares memory between threads, taken apart at its atomic operations: before each of them a
// hook may run what other threads do meanwhile. So races of a few instructions are found in one thread
// and replayed from a seed. What runs in a hook runs to its end (or its own hooks' end), as if this
// thread were preempted.

type Operation = (view: Int32Array, index: number, ...values: number[]) => number;
type Operations = Record<string, Operation>;

const NAMES = ["load", "store", "add", "sub", "or", "and", "exchange", "compareExchange"];

/** Calls `hook` before every atomic operation while `body` runs. */
export async function withPreemption<T>(hook: () => void, body: () => Promise<T>): Promise<T> {
  const atomics = Atomics as unknown as Operations;
  const originals = NAMES.map((name): [string, Operation] => [name, atomics[name]]);
  for (const [name, original] of originals) {
    atomics[name] = (view, index, ...values) => {
      hook();
      return original(view, index, ...values);
    };
  }
  try {
    return await body();
  } finally {
    for (const [name, original] of originals) atomics[name] = original;
  }
}

/**
 * Runs `body` once for each of its atomic operations, preempted before that one by `meanwhile`, each time
 * with a new `world`.
 */
export async function atEveryOperation<W>(world: () => W, steps: {
  readonly body: (world: W) => void;
  readonly meanwhile: (world: W) => void;
  readonly check: (world: W, operation: number) => void;
}): Promise<number> {
  for (let at = 0;; at++) {
    const one = world();
    let operation = 0;
    let preempted = false;
    const hook = () => {
      if (operation++ !== at || preempted) return;
      preempted = true;
      steps.meanwhile(one);
    };
    await withPreemption(hook, () => Promise.resolve(steps.body(one)));
    steps.check(one, at);
    if (!preempted) return at;
  }
}
