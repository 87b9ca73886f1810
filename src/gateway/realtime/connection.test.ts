import type { Socket } from 'node:net'
import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { ManualClock } from '../../core/clock.ts'
import { Connection, type Hub } from './connection.ts'
import { IN_FLIGHT_MAX, UNSENT_BYTES_MAX } from './connection-limits.ts'
import type { Said, Speaker } from './speaker.ts'

/** A connection whose client reads nothing, and what became of it. */
function place(message: (said: Said) => Promise<void> | boolean = () => true) {
  const said: string[] = []
  const ws = {
    readyState: WebSocket.OPEN as number,
    pause: () => said.push('pause'),
    resume: () => said.push('resume'),
    close: (code: number, reason: string) => {
      ws.readyState = WebSocket.CLOSING
      said.push(`${code} ${reason}`)
    },
  }
  const hub: Hub = {
    clock: new ManualClock(),
    endOfAgeMs: () => 1_000_000,
    touch: () => {},
    guard: (_connection, work) => {
      try {
        work()
      } catch {
        said.push('guarded')
      }
    },
  }
  const socket = new Writable({ highWaterMark: 16_384, write: () => {} })
  const opened = { requestId: 'r', address: '::1', own: true, countedAs: 'k', organisationId: 'o' }
  // What a connection uses of them; the rest is the network.
  const connection = new Connection(hub, ws as unknown as WebSocket, socket as unknown as Socket, opened)
  connection.speaks({ message } as Partial<Speaker> as Speaker)
  return { connection, said }
}

test('one event that is larger than all that may wait is sent; what comes on top of it is too much', () => {
  const { connection, said } = place()
  connection.send(Buffer.alloc(2 * UNSENT_BYTES_MAX))
  connection.flush()
  expect([connection.isOpen, said]).toEqual([true, []])
  connection.send(Buffer.alloc(1))
  expect(said).toEqual(['1013 slow_consumer'])
})

test('a message that waited for its turn and cannot be handled ends its connection, and no process', async () => {
  const answers: (() => void)[] = []
  const { connection, said } = place((message) => {
    if (message['type'] === 'bad') throw new TypeError('a bug')
    return new Promise((resolve) => answers.push(resolve))
  })
  const receive = (type: string) => connection.receive(Buffer.from(JSON.stringify({ type })))
  for (let asked = 0; asked < IN_FLIGHT_MAX; asked++) receive('good')
  receive('bad')
  expect(said).toEqual(['pause'])
  answers[0]?.()
  await new Promise((resolve) => setImmediate(resolve))
  expect(said).toEqual(['pause', 'guarded'])
})
