import type { Config } from '../../config/schema.ts'
import { type ConnectionLimits, RESUMES_MAX, TOPICS_MAX } from '../../contracts/realtime.ts'
import type { Terms } from '../../limits/counter.ts'

/** What one connection may do, as docs/realtime.md says. */
export const MESSAGE_BYTES_MAX = 2 ** 20
export const FRAGMENTS_MAX = 64
/** A message that comes in smaller pieces than a network makes of it is dripped to cost memory. */
export const PIECES_MAX = 2_048
export const JSON_DEPTH_MAX = 32
export const UNREADABLE_MAX = 5
export const STREAMS_MAX = RESUMES_MAX
export const IN_FLIGHT_MAX = 16
const MESSAGES_PER_SECOND = 50
const MESSAGES_BURST = 100
export const STRIKES_MAX = 3

export const MESSAGE_TERMS: Terms = {
  kind: 'token-bucket',
  limit: MESSAGES_PER_SECOND,
  windowMs: 1_000,
  burst: MESSAGES_BURST,
}

/** Unsent bytes up to which each event goes out by itself. */
export const JOIN_BYTES = 64 * 1024
/** Up to which anything goes out; then what follows waits in its stream. */
export const STOP_BYTES = 256 * 1024
/** More than that is nobody who reads. */
export const UNSENT_BYTES_MAX = 2 ** 20
export const NO_PROGRESS_MS = 5_000
/** How long a connection that is being closed may take to read why. */
export const CLOSE_MS = 1_000

/** How it is announced to the client. */
export function announcedLimits(realtime: Config['realtime']): ConnectionLimits {
  return {
    message_bytes: MESSAGE_BYTES_MAX,
    fragments: FRAGMENTS_MAX,
    json_depth: JSON_DEPTH_MAX,
    streams: STREAMS_MAX,
    topics: TOPICS_MAX,
    connections_per_key: realtime.connectionsPerKey,
    messages_per_second: MESSAGES_PER_SECOND,
    messages_burst: MESSAGES_BURST,
    requests_in_flight: IN_FLIGHT_MAX,
    age_ms: realtime.age,
    idle_ms: realtime.idle,
  }
}
