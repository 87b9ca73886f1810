import type { Socket } from 'node:net'
import { NO_PROGRESS_MS } from './connection-limits.ts'

/** How often connections are looked at. */
export const SWEEP_MS = 500

export interface PulseTimes {
  readonly heartbeatMs: number
  readonly answerMs: number
}

/** What is to be done about a connection, as far as its socket tells. */
export type PulseFinding = 'well' | 'ask' | 'dead' | 'stuck'

/** Whether the other side of a socket lives, and takes what it is sent; found by looking at counters alone. */
export class Pulse {
  /** Since when nothing goes on. */
  idleSinceMs: number
  /** The client knows that its age will end it. */
  isToldOfAge = false
  private heardMs: number
  private askedMs: number | undefined
  private readBytes = 0
  private sent = ''
  private progressMs: number

  constructor(
    private readonly socket: Socket,
    readonly openedMs: number,
    readonly endMs: number,
  ) {
    this.idleSinceMs = openedMs
    this.heardMs = openedMs
    this.progressMs = openedMs
  }

  heard(nowMs: number): void {
    this.heardMs = nowMs
    this.askedMs = undefined
  }

  /** @param isDeaf nothing is read at the moment, so nothing can be heard */
  check(nowMs: number, times: PulseTimes, isDeaf: boolean): PulseFinding {
    if (this.isStuck(nowMs)) return 'stuck'
    const { bytesRead, writableLength } = this.socket
    // A question would wait behind what waits already; whether that goes on is what tells.
    if (bytesRead !== this.readBytes || isDeaf || writableLength > 0) {
      this.readBytes = bytesRead
      this.heard(nowMs)
    } else if (this.askedMs !== undefined) return nowMs - this.askedMs >= times.answerMs ? 'dead' : 'well'
    else if (nowMs + SWEEP_MS - this.heardMs >= times.heartbeatMs) {
      this.askedMs = nowMs
      return 'ask'
    }
    return 'well'
  }

  /** Bytes wait, and none has gone for a while. */
  private isStuck(nowMs: number): boolean {
    const { writableLength, bytesWritten } = this.socket
    if (writableLength === 0) {
      this.progressMs = nowMs
      this.sent = ''
      return false
    }
    // One write may be large; what of it the kernel has not taken yet only the handle knows.
    const { _handle: handle } = this.socket as Socket & {
      readonly _handle?: { writeQueueSize?: number } | null
    }
    const sent = `${bytesWritten - writableLength} ${handle?.writeQueueSize}`
    if (sent !== this.sent) this.progressMs = nowMs
    this.sent = sent
    return nowMs - this.progressMs >= NO_PROGRESS_MS
  }
}
