import { z } from 'zod'
import type { ErrorBody } from '../core/errors.ts'

/** The subprotocol of `/ws`; docs/realtime.md says what every message means. */
export const SUBPROTOCOL = 'helixflow.v1'

/** How browsers send a credential: they cannot set headers. */
export const BEARER_SUBPROTOCOL = 'hf.bearer.'
export const TICKET_SUBPROTOCOL = 'hf.ticket.'

const id = z.string().regex(/^[\x21-\x7e]{1,128}$/, 'must be 1 to 128 printable characters without spaces')
const streamId = z.string().regex(/^(str|resp)_[0-9a-f]{32}$/, 'must be the id of a stream')
const epoch = z.string().min(1).max(64)
const seq = z.int().min(0)
const topic = z.string().regex(/^[A-Za-z0-9._/-]{1,128}$/, 'must be 1 to 128 of letters, digits, . _ - and /')
const detachMs = z.int().min(0).max(600_000).default(30_000)
/** Parsed against its own schema once it is known which it is. */
const request = z.record(z.string(), z.unknown())
const number = z.int().optional()

export const RESUMES_MAX = 16
export const TOPICS_MAX = 128

/** What a client may say on `/ws`. */
export const ClientMessage = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('hello'),
    client: z.string().max(128).optional(),
    resume: z
      .array(z.strictObject({ stream: streamId, epoch, seq }))
      .max(RESUMES_MAX)
      .default([]),
    topics: z
      .array(z.strictObject({ topic, epoch: epoch.optional(), seq: seq.optional() }))
      .max(TOPICS_MAX)
      .default([]),
  }),
  z.strictObject({ type: z.literal('chat.create'), id, request, detach_ms: detachMs }),
  z.strictObject({ type: z.literal('response.create'), id, request, detach_ms: detachMs }),
  z.strictObject({ type: z.literal('response.cancel'), id, stream: streamId }),
  z.strictObject({ type: z.literal('resume'), id, stream: streamId, epoch, seq }),
  z.strictObject({ type: z.literal('ack'), stream: streamId, seq }),
  z.strictObject({ type: z.literal('leave'), id, stream: streamId }),
  z.strictObject({ type: z.literal('subscribe'), id, topic, epoch: epoch.optional(), seq: seq.optional() }),
  z.strictObject({ type: z.literal('unsubscribe'), id, topic }),
  z.strictObject({
    type: z.literal('publish'),
    id,
    topic,
    data: z.json(),
    key: z.string().max(128).optional(),
  }),
  z.strictObject({
    type: z.literal('broadcast'),
    id,
    message: z.string().min(1).max(4_096),
    level: z.enum(['info', 'warning']).default('info'),
  }),
  z.strictObject({ type: z.literal('auth.refresh'), id, token: z.string().min(1).max(8_192) }),
  z.strictObject({ type: z.literal('ping'), n: number }),
  z.strictObject({ type: z.literal('pong'), n: number }),
])

export type ClientMessage = z.output<typeof ClientMessage>
export type ClientMessageInput = z.input<typeof ClientMessage>

/** What the server announces when a connection begins. */
export interface ConnectionLimits {
  readonly message_bytes: number
  readonly fragments: number
  readonly json_depth: number
  readonly streams: number
  readonly topics: number
  readonly connections_per_key: number
  readonly messages_per_second: number
  readonly messages_burst: number
  readonly requests_in_flight: number
  readonly age_ms: number
  readonly idle_ms: number
}

export type UnrecoverableReason = 'not_found' | 'expired' | 'epoch' | 'gap'

/** `unavailable`: nobody can say at the moment; to be asked again. */
export type ResumeRefusal = UnrecoverableReason | 'unavailable'

export type Recovery =
  | { readonly recovered: true; readonly from: number }
  | { readonly recovered: false; readonly reason: ResumeRefusal }

export type TopicRecovery =
  | { readonly topic: string; readonly recovered: boolean; readonly epoch: string; readonly seq: number }
  | { readonly topic: string; readonly recovered: false; readonly reason: ResumeRefusal | 'forbidden' }

interface Failure extends ErrorBody {
  readonly status: number
  readonly retryable: boolean
  readonly retry_after_ms?: number
}

interface OfStream {
  readonly stream: string
  readonly epoch: string
  readonly seq: number
}

/** What the server says on `/ws`. Clients skip what they do not know. */
export type ServerMessage =
  | {
      readonly type: 'welcome'
      readonly connection: string
      readonly node: string
      readonly server_time: number
      readonly heartbeat_ms: number
      readonly limits: ConnectionLimits
      readonly resume: readonly ({ readonly stream: string } & Recovery)[]
      readonly topics: readonly TopicRecovery[]
    }
  | {
      readonly type: 'ack'
      readonly id: string
      readonly stream?: string
      readonly epoch?: string
      readonly request_id?: string
      readonly topic?: string
      readonly seq?: number
      readonly recovered?: boolean
    }
  | ({
      readonly type: 'error'
      readonly id?: string
      readonly stream?: string
      readonly topic?: string
    } & Failure)
  | ({
      readonly type: 'resumed'
      readonly id: string
      readonly stream: string
      readonly epoch?: string
    } & Recovery)
  | ({
      readonly type: 'stream.start'
      readonly kind: 'chat' | 'response'
      readonly response_id: string
      readonly model: string
      readonly created: number
      readonly data?: unknown
    } & OfStream)
  | ({
      readonly type: 'stream.delta'
      readonly text: string
      readonly choice?: number
      readonly seq_to?: number
    } & OfStream)
  | ({ readonly type: 'stream.event'; readonly data: unknown; readonly text?: string } & OfStream)
  | ({
      readonly type: 'stream.end'
      readonly last_seq: number
      readonly finish_reason: string | null
      readonly usage: unknown
      readonly sha256: string
      readonly data?: unknown
    } & OfStream)
  | ({ readonly type: 'stream.error'; readonly data?: unknown } & OfStream & Failure)
  | {
      readonly type: 'event'
      readonly topic: string
      readonly epoch: string
      readonly seq: number
      readonly data: unknown
    }
  | {
      readonly type: 'notice'
      readonly message: string
      readonly level: 'info' | 'warning'
      readonly from: string
    }
  | { readonly type: 'auth.expiring'; readonly in_ms: number }
  | { readonly type: 'server.draining'; readonly deadline_ms: number; readonly reconnect_after_ms: number }
  | { readonly type: 'ping' | 'pong'; readonly n?: number }
