import { write, writeSync } from 'node:fs'

export interface LogOutputOptions {
  /** Of an open file, pipe or terminal. */
  readonly descriptor: number
  /** Lines wait for others until there are so many characters of them, */
  readonly batchLength: number
  /** or until so long has passed. */
  readonly batchMs: number
}

/** Whoever reads too slowly, or has no room, loses the lines beyond it. */
const WAITING_LENGTH_MAX = 8 * 2 ** 20

/** Of this whole process: what it says goes to one place, through however many outputs. */
let lost = 0

/** Lines that were lost because nobody took them in time, since the start of the process. */
export function lostLines(): number {
  return lost
}

const NEWLINE = 10

const RETRY_MS = 1_000
/** A pipe that is full is mostly read soon. */
const FULL_PIPE_RETRY_MS = 100

/**
 * Lines on their way out. The service is worth more than its log: whatever the system answers to a write, the process
 * goes on, never waits for it, and keeps a bounded amount until there is room again.
 */
export class LogOutput {
  private waiting: string[] = []
  private waitingLength = 0
  /** Refused so far, and to go out first: the line that was cut there goes on where it was cut. */
  private unwritten: Buffer = Buffer.alloc(0)
  private writing = false
  private closed = false
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly options: LogOutputOptions) {
    process.once('exit', () => this.writeRest())
  }

  write(line: string): void {
    if (this.closed || this.waitingLength + line.length > WAITING_LENGTH_MAX) {
      lost += 1
      return
    }
    this.waiting.push(line)
    this.waitingLength += line.length
    this.flushWhenDue()
  }

  private flushWhenDue(): void {
    if (this.writing || this.unwritten.length > 0 || this.waitingLength === 0) return
    if (this.waitingLength >= this.options.batchLength) this.flush()
    else this.flushIn(this.options.batchMs)
  }

  private flushIn(delayMs: number): void {
    this.timer ??= setTimeout(() => this.flush(), delayMs).unref()
  }

  private flush(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.writing = true
    const bytes = this.take()
    write(this.options.descriptor, bytes, (reason, written) => {
      this.writing = false
      this.unwritten = bytes.subarray(reason ? 0 : written)
      if (reason) this.refused(reason)
      else if (this.unwritten.length > 0) this.flush()
      else this.flushWhenDue()
    })
  }

  private refused({ code }: NodeJS.ErrnoException): void {
    if (code === 'EPIPE') {
      // Nobody reads any more, and nobody will.
      this.closed = true
      lost += this.waiting.length + this.unwritten.filter((byte) => byte === NEWLINE).length
      this.unwritten = Buffer.alloc(0)
      this.waiting = []
      return
    }
    this.flushIn(code === 'EAGAIN' ? FULL_PIPE_RETRY_MS : RETRY_MS)
  }

  private take(): Buffer {
    const { unwritten } = this
    this.unwritten = Buffer.alloc(0)
    if (unwritten.length > 0) return unwritten
    this.waitingLength = 0
    return Buffer.from(this.waiting.splice(0).join(''))
  }

  private writeRest(): void {
    try {
      for (let bytes = this.take(); bytes.length > 0; bytes = this.take())
        this.unwritten = bytes.subarray(writeSync(this.options.descriptor, bytes))
    } catch {
      // The process ends, and there is nobody left to be told.
    }
  }
}
