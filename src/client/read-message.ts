import { HelixFlowError } from './helix-flow-error.ts'
import type { ServerMessage } from './messages.ts'

/**
 * What the server said; undefined for a message of a kind that this client does not know, which it skips.
 * @throws SyntaxError, HelixFlowError when it is nothing that a server of this protocol says
 */
export function readMessage(text: string): ServerMessage | undefined {
  const value: unknown = JSON.parse(text)
  if (!isObject(value) || typeof value['type'] !== 'string') return refuse('no type')
  const fields = Object.hasOwn(FIELDS, value['type']) ? FIELDS[value['type']] : undefined
  if (fields === undefined) return undefined
  for (const [field, kind] of Object.entries(fields)) {
    if (!KINDS[kind](value[field])) refuse(`${value['type']} without ${field}`)
  }
  return value as unknown as ServerMessage
}

type Kind = 'text' | 'count' | 'list' | 'object' | 'flag' | 'anything'
type Fields = Readonly<Record<string, Kind>>

const KINDS: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  text: (value) => typeof value === 'string',
  count: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  list: (value) => Array.isArray(value) && value.every(isObject),
  object: isObject,
  flag: (value) => typeof value === 'boolean',
  anything: (value) => value !== undefined,
}

const OF_STREAM: Fields = { stream: 'text', epoch: 'text', seq: 'count' }
const FAILURE: Fields = { error: 'object' }

/** The fields that this client relies on, by type. */
const FIELDS: Readonly<Record<string, Fields>> = {
  welcome: { heartbeat_ms: 'count', limits: 'object', resume: 'list', topics: 'list' },
  ack: { id: 'text' },
  error: FAILURE,
  resumed: { id: 'text', stream: 'text', recovered: 'flag' },
  'stream.start': { ...OF_STREAM, kind: 'text' },
  'stream.delta': { ...OF_STREAM, text: 'text' },
  'stream.event': { ...OF_STREAM, data: 'anything' },
  'stream.end': { ...OF_STREAM, last_seq: 'count', sha256: 'text' },
  'stream.error': { ...OF_STREAM, ...FAILURE },
  event: { topic: 'text', epoch: 'text', seq: 'count', data: 'anything' },
  notice: { message: 'text', level: 'text' },
  'auth.expiring': { in_ms: 'count' },
  'server.draining': { reconnect_after_ms: 'count' },
  ping: {},
  pong: {},
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refuse(what: string): never {
  throw new HelixFlowError('unexpected_message', `The server sent something unexpected: ${what}.`)
}
