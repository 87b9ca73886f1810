import type { Identity } from '../../contracts/auth.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Stream } from '../../streams/stream.ts'
import type { CredentialCache } from '../credential-cache.ts'
import type { Presence } from '../dispatch/recipient.ts'
import { type Drain, drainingError } from '../drain.ts'
import type { ResponseObject } from '../responses/response-object.ts'
import type { ResponseRuns } from '../responses/response-runs.ts'
import type { Connection } from './connection.ts'
import { textFrame } from './frames.ts'
import type { GenerationLog } from './generation-log.ts'
import { ResponseOutlet } from './response-outlet.ts'
import { ResponsesSession } from './responses-session.ts'
import { SocketCaller } from './socket-caller.ts'
import type { Said, Speaker } from './speaker.ts'

export interface ResponsesSpeakerParts extends GenerationLog {
  readonly responses: ResponseRuns
  readonly credentials: CredentialCache
  readonly drain: Drain
  readonly clock: Clock
}

/** One client of `/v1/responses` as a socket: what the `openai` client sends there, and is sent. */
export class ResponsesSpeaker implements Speaker {
  private readonly caller: SocketCaller
  private readonly session: ResponsesSession
  private readonly outlets = new Set<ResponseOutlet>()
  private readonly onGone = new Set<() => void>()

  constructor(
    private readonly parts: ResponsesSpeakerParts,
    private readonly connection: Connection,
    { credential, identity }: { readonly credential: string; readonly identity: Identity },
  ) {
    const { address } = connection.opened
    const end = connection.close.bind(connection)
    const { credentials, clock } = parts
    const callerParts = { credentials, clock, address, end, expiring: () => {} }
    this.caller = new SocketCaller(callerParts, credential, identity)
    this.session = new ResponsesSession({
      ...parts,
      caller: this.caller,
      client: this.presence(),
      follow: (stream, lane) => this.follow(stream, lane),
      refuse: (error, lane) => this.tell(error, lane),
    })
  }

  get busy(): boolean {
    return this.session.size > 0
  }

  get streams(): number {
    return this.session.size
  }

  message(said: Said): Promise<void> | boolean {
    if (said['type'] !== 'response.create') {
      this.refuse(new HelixError('unknown_type', 'There is no such message.', { param: 'type' }), said)
      return false
    }
    if (!this.parts.drain.draining) return this.session.create(said)
    this.refuse(drainingError(), said)
    return true
  }

  refuse(error: HelixError, said: Said | undefined): void {
    const lane = said?.['stream_id']
    this.tell(error, typeof lane === 'string' && lane.length <= 128 ? lane : undefined)
  }

  tick(): void {
    this.caller.tick()
  }

  leaving(): void {
    if (!this.connection.pulse.isToldOfAge) return
    const message = 'This connection has reached its age. Open another one.'
    this.tell(new HelixError('websocket_connection_limit_reached', message), undefined)
  }

  announced(): void {}

  follows(): Iterable<string> {
    return []
  }

  closed(): void {
    this.caller.stop()
    for (const outlet of this.outlets) outlet.close()
    for (const tell of this.onGone) tell()
  }

  private async follow(stream: Stream, lane: string | undefined): Promise<ResponseObject | undefined> {
    const outlet = new ResponseOutlet(this.connection, stream, lane)
    this.outlets.add(outlet)
    try {
      return await outlet.run()
    } finally {
      this.outlets.delete(outlet)
    }
  }

  private tell(error: HelixError, lane: string | undefined): void {
    const message = { type: 'error', status: error.status, ...error.toBody() }
    this.connection.send(textFrame(JSON.stringify({ ...message, stream_id: lane })))
  }

  private presence(): Presence {
    const { connection, onGone } = this
    return {
      get gone() {
        return !connection.isOpen
      },
      whenGone: (tell) => {
        onGone.add(tell)
        return () => onGone.delete(tell)
      },
    }
  }
}
