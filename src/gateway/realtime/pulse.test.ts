import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { Pulse, type PulseFinding } from './pulse.ts'

const TIMES = { heartbeatMs: 25_000, answerMs: 10_000 }

interface Counters {
  bytesRead: number
  bytesWritten: number
  writableLength: number
}

/** Looks twice a second, up to that time, and tells what was found when. */
function look(
  until: number,
  {
    change = () => {},
    isDeaf = false,
  }: { change?: (socket: Counters, nowMs: number) => void; isDeaf?: boolean } = {},
): [number, PulseFinding][] {
  const socket = { bytesRead: 0, bytesWritten: 0, writableLength: 0 }
  const pulse = new Pulse(socket as unknown as Socket, 0, Number.POSITIVE_INFINITY)
  const found: [number, PulseFinding][] = []
  for (let nowMs = 500; nowMs <= until; nowMs += 500) {
    change(socket, nowMs)
    const finding = pulse.check(nowMs, TIMES, isDeaf)
    if (finding !== 'well') found.push([nowMs, finding])
    if (finding === 'dead' || finding === 'stuck') break
  }
  return found
}

test('who says nothing is asked within 25 s, and given up 10 s later', () => {
  expect(look(60_000)).toEqual([
    [24_500, 'ask'],
    [34_500, 'dead'],
  ])
})

test('any byte is an answer', () => {
  const answers = (socket: Counters, nowMs: number) => {
    if (nowMs === 30_000) socket.bytesRead++
  }
  expect(look(50_000, { change: answers })).toEqual([[24_500, 'ask']])
})

test('who is not listened to is not given up', () => {
  expect(look(120_000, { isDeaf: true })).toEqual([])
})

test('bytes that wait for 5 s are too much, however few; slow ones are not', () => {
  const stuck = (socket: Counters) => Object.assign(socket, { bytesWritten: 10, writableLength: 10 })
  expect(look(60_000, { change: stuck })).toEqual([[5_500, 'stuck']])
  const slow = (socket: Counters, nowMs: number) => {
    socket.bytesRead = nowMs
    Object.assign(socket, { bytesWritten: 1_000_000 + Math.floor(nowMs / 4_000), writableLength: 1_000_000 })
  }
  expect(look(60_000, { change: slow })).toEqual([])
})
