import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { parseJson } from '../../contracts/openai/parse.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { tokenBucket } from '../../limits/token-bucket.ts'
import { CLOSE, type CloseCode, plainCode } from './close-codes.ts'
import {
  IN_FLIGHT_MAX,
  JOIN_BYTES,
  JSON_DEPTH_MAX,
  MESSAGE_TERMS,
  STOP_BYTES,
  STRIKES_MAX,
  UNREADABLE_MAX,
  UNSENT_BYTES_MAX,
} from './connection-limits.ts'
import { jsonDepth } from './json-depth.ts'
import { Pulse } from './pulse.ts'
import type { Outlet, Said, Speaker } from './speaker.ts'

/** What a connection keeps of the request that opened it; never the request itself. */
export interface Opened {
  readonly requestId: string
  readonly address: string
  /** Whether the client speaks our subprotocol, and knows its close codes. */
  readonly own: boolean
  readonly countedAs: string
  readonly organisationId: string
}

/** What a connection needs of those who keep all of them. */
export interface Hub {
  readonly clock: Clock
  /** When a connection that begins now is too old, on the monotonic clock. */
  endOfAgeMs(): number
  /** It has something to send at the end of this turn of the loop. */
  touch(connection: Connection): void
  /** Does it, and ends the connection where that fails. */
  guard(connection: Connection, work: () => void): void
}

/**
 * One socket: what comes is parsed by `ws` and handed on in order, within limits; what goes is written past it, in frames
 * that were built once for everybody. Time comes from outside, twice a second: a connection has no timer of its own.
 */
export class Connection {
  readonly pulse: Pulse
  /** The code that we ended it with, whether or not the client could read it. */
  closedWith: number | undefined
  private said: Said | undefined
  private outlets: Set<Outlet> | undefined
  private inbox: Buffer[] | undefined
  private bucket: ReturnType<typeof tokenBucket.start> | undefined
  private inFlight = 0
  private unreadable = 0
  private strikes = 0
  /** The first frame of this turn of the loop, as long as it is the only one. */
  private held: Buffer | undefined
  private isCorked = false
  private isBlocked = false
  private speaker: Speaker | undefined

  constructor(
    private readonly hub: Hub,
    readonly ws: WebSocket,
    private readonly socket: Socket,
    readonly opened: Opened,
  ) {
    this.pulse = new Pulse(socket, hub.clock.monotonic(), hub.endOfAgeMs())
  }

  speaks(speaker: Speaker): void {
    this.speaker = speaker
  }

  get spokenBy(): Speaker | undefined {
    return this.speaker
  }

  get isOpen(): boolean {
    return this.ws.readyState === WebSocket.OPEN
  }

  get unsentBytes(): number {
    return this.socket.writableLength + (this.held?.length ?? 0)
  }

  /** Whether requests of it wait for their answers. */
  get isAsking(): boolean {
    return this.inFlight > 0
  }

  /** Sends a frame after those that were sent before; what one turn of the loop sends goes out together. */
  send(frame: Buffer): void {
    if (!this.isOpen) return
    // Looked at before: one frame may be larger than that by itself, and whoever takes all else takes it too.
    if (this.unsentBytes > UNSENT_BYTES_MAX) {
      this.close(CLOSE.overload, 'slow_consumer')
      return
    }
    if (this.isCorked) this.socket.write(frame)
    else if (this.held) {
      this.isCorked = true
      this.socket.cork()
      this.socket.write(this.held)
      this.socket.write(frame)
      this.held = undefined
    } else {
      this.held = frame
      this.hub.touch(this)
    }
  }

  /** The outlet has frames; they go out at the end of this turn of the loop, or when the socket has drained. */
  ready(outlet: Outlet): void {
    this.outlets ??= new Set()
    this.outlets.add(outlet)
    this.hub.touch(this)
  }

  /** Sends nothing of it any more. */
  forget(outlet: Outlet): void {
    this.outlets?.delete(outlet)
  }

  /** The end of a turn of the loop. */
  flush(): void {
    if (this.isOpen && !this.isBlocked) this.pump()
    this.release()
  }

  /** @param code 4xxx codes go only to clients that know them */
  close(code: CloseCode, reason: string): void {
    if (!this.isOpen) return
    this.release()
    this.closedWith = this.opened.own ? code : plainCode(code)
    this.ws.close(this.closedWith, reason)
  }

  /** A message of the client, whole. */
  receive(data: Buffer): void {
    this.hub.guard(this, () => this.take(data))
    // The next frame may be the client's close, which `ws` answers at once.
    this.release()
  }

  /** What was gathered goes out: a single frame, which is the rule, without the detour of a cork. */
  private release(): void {
    const { held } = this
    this.held = undefined
    if (held && this.isOpen) this.socket.write(held)
    if (!this.isCorked) return
    this.isCorked = false
    this.socket.uncork()
  }

  private take(data: Buffer): void {
    this.pulse.heard(this.hub.clock.monotonic())
    if (this.inbox || this.inFlight >= IN_FLIGHT_MAX) {
      this.inbox ??= []
      this.inbox.push(data)
      // What was read already still comes; nothing more is.
      this.ws.pause()
    } else this.handle(data)
  }

  /** A ping counts as a message too: it is answered. @returns false when there were too many */
  admit(): boolean {
    const nowMs = Math.floor(this.hub.clock.monotonic())
    this.bucket ??= tokenBucket.start(MESSAGE_TERMS)
    tokenBucket.advance(MESSAGE_TERMS, this.bucket, nowMs)
    if (tokenBucket.isFresh(MESSAGE_TERMS, this.bucket)) this.strikes = 0
    const retryAfterMs = tokenBucket.waitMs(MESSAGE_TERMS, this.bucket, 1, nowMs)
    if (retryAfterMs === 0) {
      tokenBucket.take(MESSAGE_TERMS, this.bucket, 1, { atMs: nowMs, name: '' })
      return true
    }
    const error = new HelixError('rate_limit_exceeded', 'Too many messages.', { retryAfterMs })
    this.speaker?.refuse(error, this.said)
    if (++this.strikes >= STRIKES_MAX) this.close(CLOSE.abuse, error.code)
    return false
  }

  /** The socket is gone. */
  gone(): void {
    this.outlets = undefined
    this.inbox = undefined
    const { speaker } = this
    this.speaker = undefined
    speaker?.closed()
  }

  private handle(data: Buffer): void {
    if (!this.isOpen || !this.speaker) return
    const said = this.read(data)
    if (!said) return
    this.said = said
    const isAdmitted = this.admit()
    this.said = undefined
    if (!isAdmitted) return
    const answer = this.speaker.message(said)
    if (answer === false) this.countUnreadable()
    else this.unreadable = 0
    if (!(answer instanceof Promise)) return
    this.inFlight++
    void answer.finally(() => this.hub.guard(this, () => this.answered()))
  }

  private read(data: Buffer): Said | undefined {
    try {
      const said = readMessage(data)
      if (said === undefined) this.close(CLOSE.abuse, 'invalid_json')
      return said
    } catch (reason) {
      if (!this.admit()) return undefined
      this.speaker?.refuse(HelixError.from(reason), undefined)
      this.countUnreadable()
      return undefined
    }
  }

  private countUnreadable(): void {
    if (++this.unreadable >= UNREADABLE_MAX) this.close(CLOSE.abuse, 'invalid_json')
  }

  private answered(): void {
    this.inFlight--
    while (this.inbox && this.inFlight < IN_FLIGHT_MAX) {
      const next = this.inbox.shift()
      if (next) this.handle(next)
      else {
        this.inbox = undefined
        this.ws.resume()
      }
    }
  }

  /** Outlets take turns, so that none waits for another's backlog. */
  private pump(): void {
    const { outlets } = this
    while (outlets && outlets.size > 0 && !this.isBlocked) {
      for (const outlet of outlets) {
        if (!this.isOpen) return
        if (this.unsentBytes > STOP_BYTES) {
          this.block()
          return
        }
        const frame = outlet.take(this.unsentBytes > JOIN_BYTES)
        if (frame) this.send(frame)
        else outlets.delete(outlet)
      }
    }
  }

  private block(): void {
    this.isBlocked = true
    this.socket.once('drain', () => {
      this.isBlocked = false
      this.hub.touch(this)
    })
  }
}

/** @returns undefined for one that lies too deep in itself @throws HelixError `invalid_json` */
function readMessage(data: Buffer): Said | undefined {
  if (jsonDepth(data.toString('latin1')) > JSON_DEPTH_MAX) return undefined
  const value = parseJson(data)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Said
  throw new HelixError('invalid_json', 'A message is a JSON object.')
}
