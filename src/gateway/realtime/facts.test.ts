import { expect, test } from 'vitest'
import type { Identity } from '../../contracts/auth.ts'
import { ManualClock } from '../../core/clock.ts'
import { Facts, type Publisher } from './facts.ts'

const identity: Identity = {
  actor: 'key:k',
  organisationId: 'org_a',
  projectId: 'proj_a',
  keyId: 'k',
  userId: undefined,
  rights: { organisation: [], projects: { proj_a: ['inference'] } },
  models: undefined,
  ipRules: undefined,
  limits: [],
  expiresAtMs: undefined,
  subjects: [],
}
const follower = { event: () => {}, gap: () => {} }

test('a topic is told only while somebody follows, and is forgotten a minute after the last has left', async () => {
  const clock = new ManualClock()
  let running = 0
  const publisher: Publisher = {
    start: () => {
      running++
      return () => {
        running--
      }
    },
  }
  const publishers = { models: publisher, devices: publisher, usage: publisher, alerts: publisher }
  const facts = new Facts(clock, { ...publishers, presence: publisher })
  const follow = () => facts.follow(identity, 'custom/room/presence', undefined, follower)
  const [first, second] = [await follow(), await follow()]
  expect([running, second.epoch]).toEqual([1, first.epoch])
  first.stop()
  clock.advance(300_000)
  expect((await follow()).epoch).toBe(first.epoch)
  facts.stop()
  expect(running).toBe(0)

  const others = new Facts(clock, { ...publishers, presence: publisher })
  const once = async () => {
    const { epoch, stop } = await others.follow(identity, 'custom/room/presence', undefined, follower)
    stop()
    return epoch
  }
  const epoch = await once()
  clock.advance(59_000)
  expect(await once()).toBe(epoch)
  clock.advance(60_000)
  expect(await once()).not.toBe(epoch)
  expect(running).toBe(0)
})
