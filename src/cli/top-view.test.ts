import { expect, test } from 'vitest'
import type { ModelView } from '../contracts/pool.ts'
import { type Snapshot, topText } from './top-view.ts'

function model(name: string, change: Partial<ModelView> = {}): ModelView {
  return {
    name,
    state: 'available',
    engine: 'llama-server',
    reason: undefined,
    sizeBytes: 1_000_000,
    memoryBytes: 2_000_000,
    contextLength: 4_096,
    quantization: undefined,
    architecture: undefined,
    source: undefined,
    sha256: undefined,
    addedAtMs: 0,
    inFlight: 0,
    replicas: 0,
    devices: [],
    unloadsAtMs: undefined,
    ...change,
  }
}

const snapshot: Snapshot = {
  atMs: 100_000,
  server: { url: 'http://127.0.0.1:8443', version: '0.1.0', startedAtMs: 8_000 },
  requestsInFlight: 3,
  realtime: { connections: 2, streams: 1, topics: { models: 1, 'custom/a': 2 } },
  models: [
    model('idle', { state: 'ready', unloadsAtMs: 130_000 }),
    model('lying'),
    model('busy', { state: 'ready', inFlight: 3 }),
    model('broken', { state: 'quarantined', reason: 'crashed three times' }),
  ],
}

test('shows what is loaded first, and what of it works', () => {
  expect(topText(snapshot).split('\n')).toEqual([
    'helixflow 0.1.0  http://127.0.0.1:8443  up 1m 32s',
    'requests 3  connections 2  streams 1',
    'topics custom/a 2, models 1',
    'models 2 of 4 loaded, 4.0 MB',
    '',
    'MODEL   STATE                             REQUESTS  MEMORY  CONTEXT  UNLOADS IN',
    'idle    ready                             0         2.0 MB  4096     30s',
    'busy    ready                             3         2.0 MB  4096     -',
    'lying   available                         0         -       4096     -',
    'broken  quarantined: crashed three times  0         -       4096     -',
  ])
})

test('what the server does not say is unknown, and not nothing', () => {
  const text = topText({ ...snapshot, realtime: undefined })
  expect(text).toContain('connections unknown  streams unknown')
  expect(text).toContain('topics unknown')
  expect(topText({ ...snapshot, realtime: { connections: 0, streams: 0, topics: {} } })).toContain(
    'topics none followed',
  )
})

test('names the topics that most follow', () => {
  const topics = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`custom/${index}`, index + 1]))
  expect(topText({ ...snapshot, realtime: { topics } })).toContain(
    'topics custom/8 9, custom/7 8, custom/6 7, custom/5 6, custom/4 5, custom/3 4 and 3 more',
  )
})
