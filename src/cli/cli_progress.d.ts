// What transfer_progress.ts uses of cli-progress, which brings no types of its own.

export interface BarOptions {
  stream: { isTTY: boolean; columns: number; write(text: string): boolean };
  format: string;
  barsize: number;
  hideCursor: boolean;
  clearOnComplete: boolean;
  gracefulExit: boolean;
}

export class SingleBar {
  constructor(options: BarOptions);
  start(total: number, value: number, payload: Record<string, string>): void;
  update(value: number, payload: Record<string, string>): void;
  stop(): void;
}
