import { z } from 'zod'
import { duration, size } from './quantities.ts'

/** The section `realtime` of helixflow.yaml. */
export const RealtimeSettings = z.strictObject({
  origins: z
    .array(z.url({ protocol: /^https?$/ }))
    .default([])
    .describe(
      'Pages that may open a WebSocket, as https://app.example; programs that are no browser need none.',
    ),
  bufferBytes: size().prefault('4MiB').describe('The newest events of a stream that are kept, in bytes.'),
  bufferEvents: z.int().min(16).max(1_000_000).default(10_000).describe('The same, in events.'),
  keepFor: duration().prefault('2m').describe('How long a stream can be read after its end.'),
  heartbeat: duration()
    .prefault('25s')
    .describe('A connection that was silent so long is asked whether it lives.'),
  heartbeatTimeout: duration().prefault('10s').describe('How long it may take to answer.'),
  helloTimeout: duration().prefault('5s').describe('How long a new connection may say nothing.'),
  idle: duration()
    .prefault('10m')
    .describe('A connection without stream and topic is closed after this time.'),
  age: duration()
    .prefault('60m')
    .describe('Every connection is closed after this time, and resumes on a new one.'),
  connectionsPerKey: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(100)
    .describe('Connections of one key at one gateway.'),
  handshakesPerSecond: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(20)
    .describe('New connections from one address, per second.'),
})
