import { expect, test } from 'vitest'
import { HelixError } from '../core/errors.ts'
import { Flight, type Follower } from './flight.ts'

/** Takes so many pieces, then waits until it is told to go on. */
class Reader implements Follower {
  text = ''
  end: 'open' | 'finished' | string = 'open'
  resume: () => void = () => {}

  constructor(private room = Number.POSITIVE_INFINITY) {}

  take(piece: Buffer): boolean {
    this.text += piece.toString()
    this.room--
    return this.room > 0
  }

  drained(resume: () => void): void {
    this.resume = resume
  }

  goOn(room = Number.POSITIVE_INFINITY): void {
    this.room = room
    this.resume()
  }

  finished(): void {
    this.end = 'finished'
  }

  failed(error: HelixError): void {
    this.end = error.code
  }
}

function flightOf(bytesMax: number) {
  let abandoned = 0
  const flight = new Flight<Reader>({ bytesMax, abandoned: () => abandoned++ })
  const push = (...texts: string[]) => texts.map((text) => flight.push(Buffer.from(text)))
  return { flight, push, abandoned: () => abandoned }
}

test('whoever comes at whatever moment gets the same from the beginning to the end', () => {
  const { flight, push } = flightOf(100)
  const readers: Reader[] = []
  for (const text of ['a', 'b', 'c', 'd']) {
    const reader = new Reader(text === 'b' ? 1 : undefined)
    readers.push(reader)
    flight.follow(reader)
    push(text)
  }
  flight.complete()
  const late = new Reader()
  flight.follow(late)
  readers[1]?.goOn()
  for (const one of [...readers, late]) expect([one.text, one.end]).toEqual(['abcd', 'finished'])
})

test('a follower that lags further behind than the bound is cut, and nothing is kept for it', () => {
  const { flight, push } = flightOf(10)
  const [slow, fast] = [new Reader(1), new Reader()]
  flight.follow(slow)
  flight.follow(fast)
  for (let at = 0; at < 100; at++) {
    push('xxxx')
    expect(flight.body.length).toBeLessThanOrEqual(14)
  }
  flight.complete()
  expect([slow.text.length, slow.end]).toEqual([4, 'deadline_exceeded'])
  expect([fast.text.length, fast.end]).toEqual([400, 'finished'])
})

test('the source waits only when nobody takes more, and only when nothing more is to be kept', () => {
  const { flight, push } = flightOf(6)
  const [one, other] = [new Reader(1), new Reader(2)]
  flight.follow(one)
  flight.follow(other)
  expect(push('xx', 'xx', 'xx', 'xx')).toEqual([true, true, true, false])
  let resumed = 0
  flight.drained(() => resumed++)
  one.goOn()
  expect(resumed).toBe(1)
})

test('it is abandoned once, when the last has left before the end, and never after it', () => {
  const { flight, abandoned } = flightOf(10)
  const [one, other] = [new Reader(), new Reader()]
  flight.follow(one)
  flight.follow(other)
  flight.leave(one)
  flight.leave(one)
  expect(abandoned()).toBe(0)
  flight.leave(other)
  expect(abandoned()).toBe(1)
  const ended = flightOf(10)
  ended.flight.complete()
  ended.flight.follow(one)
  ended.flight.leave(one)
  expect(ended.abandoned()).toBe(0)
})

test('a failure comes after everything that was there before it', () => {
  const { flight, push } = flightOf(10)
  const [slow, fast] = [new Reader(1), new Reader()]
  flight.follow(slow)
  flight.follow(fast)
  push('a', 'b')
  flight.fail(new HelixError('engine_failed', 'It died.'))
  expect([fast.text, fast.end]).toEqual(['ab', 'engine_failed'])
  expect([slow.text, slow.end]).toEqual(['a', 'open'])
  slow.goOn()
  expect([slow.text, slow.end]).toEqual(['ab', 'engine_failed'])
})
