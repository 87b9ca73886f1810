import { expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { ConflictGate, type Leave } from './conflict-gate.ts'

/** Lets as many enter as can, and keeps how each of them leaves. */
class Crowd {
  readonly inside: Leave[] = []

  constructor(private readonly gate: ConflictGate) {}

  async enter(many: number): Promise<void> {
    for (let one = 0; one < many; one++) void this.gate.enter().then((leave) => this.inside.push(leave))
    await this.settled()
  }

  async leave(conflicted: boolean, many = 1): Promise<void> {
    for (const leave of this.inside.splice(0, many)) leave(conflicted)
    await this.settled()
  }

  private async settled(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await Promise.resolve()
  }
}

test('without conflicts everybody goes at once', async () => {
  const crowd = new Crowd(new ConflictGate(1_000, new ManualClock()))
  await crowd.enter(500)
  expect(crowd.inside).toHaveLength(500)
  await crowd.leave(false, 500)
  await crowd.enter(500)
  expect(crowd.inside).toHaveLength(500)
})

test('those who fight go one after the other, until it has been quiet for a while', async () => {
  const crowd = new Crowd(new ConflictGate(1_000, new ManualClock()))
  await crowd.enter(32)
  await crowd.leave(true, 32)
  await crowd.enter(100)
  expect(crowd.inside).toHaveLength(1)
  for (let quiet = 0; quiet < 15; quiet++) await crowd.leave(false)
  expect(crowd.inside).toHaveLength(1)
  await crowd.leave(false)
  expect(crowd.inside).toHaveLength(2)
})

test('one conflict in a crowd lets half of it go on together', async () => {
  const crowd = new Crowd(new ConflictGate(1_000, new ManualClock()))
  await crowd.enter(32)
  await crowd.leave(true)
  await crowd.leave(false, 15)
  await crowd.enter(50)
  expect(crowd.inside).toHaveLength(16)
})

test('when nothing moves the next one goes all the same', async () => {
  const clock = new ManualClock()
  const crowd = new Crowd(new ConflictGate(1_000, clock))
  await crowd.enter(2)
  await crowd.leave(true, 2)
  await crowd.enter(3)
  expect(crowd.inside).toHaveLength(1)
  clock.advance(999)
  await crowd.enter(0)
  expect(crowd.inside).toHaveLength(1)
  clock.advance(1)
  await crowd.enter(0)
  expect(crowd.inside).toHaveLength(2)
})
