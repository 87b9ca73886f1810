import type { Time } from './time.ts'

const EVENTS = 64
const WAIT_MS = 1_000

/** Tells the server now and then what has come, so that it need not keep it. */
export class Acknowledger {
  private seq = 0
  private told = 0
  private cancel: (() => void) | undefined

  constructor(
    private readonly time: Time,
    private readonly tell: () => void,
  ) {}

  came(seq: number): void {
    this.seq = seq
    if (seq - this.told >= EVENTS) this.flush()
    else this.cancel ??= this.time.schedule(WAIT_MS, () => this.flush())
  }

  flush(): void {
    this.stop()
    if (this.seq > this.told) this.tell()
    this.told = this.seq
  }

  stop(): void {
    this.cancel?.()
    this.cancel = undefined
  }
}
