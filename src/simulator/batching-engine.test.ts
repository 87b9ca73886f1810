import { expect, test } from 'vitest'
import { request } from '../../test/support/scenario.ts'
import { BatchingEngine } from './batching-engine.ts'
import { DeviceLoad } from './device-load.ts'
import { type Job, newJob } from './job.ts'
import { unloadedFirstTokenMs } from './step-model.ts'
import { Timeline } from './timeline.ts'

const steps = { fixedMs: 10, perSequenceMs: 1, perPromptMs: 0, perPromptTokenMs: 0.1, stepTokensMax: 512 }

function bench() {
  const timeline = new Timeline(0)
  const load = new DeviceLoad(['d'])
  const ended: Job[] = []
  const engine = () =>
    new BatchingEngine({
      ...{ clock: timeline, steps, deviceIds: ['d'], load, prefixBlocksMax: 100 },
      finished: (job) => {
        job.endMs = timeline.monotonic()
        ended.push(job)
      },
    })
  const run = () => {
    while (timeline.step()) {}
  }
  return { timeline, load, engine, run }
}

test('a request alone takes what the step model says', () => {
  const { engine, run } = bench()
  const job = newJob(request(1, 0, { promptTokens: 1_000, outputTokens: 5 }))
  engine().admit(job)
  run()
  // Two steps for the prompt, then four of 11 ms.
  expect(job.firstTokenMs).toBeCloseTo(120)
  expect(job.firstTokenMs).toBeCloseTo(unloadedFirstTokenMs(steps, 1_000))
  expect(job.endMs).toBeCloseTo(120 + 44)
})

test('one that comes while another writes is read in the next step, which takes longer for both', () => {
  const { timeline, engine, run } = bench()
  const one = engine()
  const first = newJob(request(1, 0, { promptTokens: 100, outputTokens: 11 }))
  const second = newJob(request(2, 25, { promptTokens: 200, outputTokens: 2 }))
  one.admit(first)
  timeline.schedule(25, () => one.admit(second))
  run()
  // first: read to 20, step to 31; then with 200 tokens of the other prompt 10 + 1 + 20 to 62; two of them to 74.
  expect(second.firstTokenMs).toBeCloseTo(62)
  expect(second.endMs).toBeCloseTo(74)
  // Its 2 + 1 tokens so far, and 7 more alone.
  expect(first.endMs).toBeCloseTo(74 + 7 * 11)
})

test('two engines on one device are each half as fast while both compute', () => {
  const { timeline, engine, run, load } = bench()
  const [a, b] = [engine(), engine()]
  const [one, other] = [1, 2].map((id) => newJob(request(id, 0, { promptTokens: 100, outputTokens: 1 })))
  if (!one || !other) return
  a.admit(one)
  timeline.schedule(0, () => b.admit(other))
  run()
  // The step that had begun alone is finished at its pace.
  expect(one.firstTokenMs).toBeCloseTo(20)
  expect(other.firstTokenMs).toBeCloseTo(40)
  expect(load.busyMs(timeline.monotonic()).get('d')).toBeCloseTo(40)
})

test('who leaves takes nothing more, and the others go on faster', () => {
  const { timeline, engine, run } = bench()
  const one = engine()
  const stays = newJob(request(1, 0, { promptTokens: 10, outputTokens: 101 }))
  const leaves = newJob(request(2, 0, { promptTokens: 10, outputTokens: 1_000 }))
  one.admit(stays)
  one.admit(leaves)
  timeline.schedule(500, () => one.remove(leaves))
  run()
  expect(leaves.endMs).toBeUndefined()
  expect(stays.endMs).toBeGreaterThan(100 * 11)
  expect(stays.endMs).toBeLessThan(100 * 12 + 20)
  expect(one.jobs).toEqual([])
})

test('a prompt whose beginning was read before takes only the rest', () => {
  const { engine, run } = bench()
  const one = engine()
  const prompt = { promptTokens: 1_536, outputTokens: 1, blocks: [7, 8, 9] }
  const first = newJob(request(1, 0, prompt))
  one.admit(first)
  run()
  const second = newJob(request(2, 0, { ...prompt, blocks: [7, 8, 4] }))
  one.admit(second)
  run()
  expect(second.blocksHit).toBe(2)
  expect((second.firstTokenMs ?? 0) - (first.firstTokenMs ?? 0)).toBeCloseTo(10 + 51.2)
})
