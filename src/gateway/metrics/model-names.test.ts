import { expect, test } from 'vitest'
import type { ModelView, Replica } from '../../contracts/pool.ts'
import { ManualClock } from '../../core/clock.ts'
import { ModelNames } from './model-names.ts'

function names(listed: readonly string[]) {
  const clock = new ManualClock()
  const state = { listed: [...listed], asked: 0, isAway: false }
  let tell: (replicas: readonly Replica[]) => void = () => {}
  const models = new ModelNames({
    clock,
    pool: {
      listModels: async () => {
        state.asked++
        if (state.isAway) throw new Error('away')
        return state.listed.map((name) => ({ name }) as ModelView)
      },
      watchReplicas: (listener) => {
        tell = listener
        return () => {}
      },
    },
  })
  return { models, clock, state, load: (model: string) => tell([{ model } as Replica]) }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

test('a model that the pool lists or has loaded is named, any other is unknown, none is nothing', async () => {
  const { models, load } = names(['listed'])
  await settled()
  load('loaded')
  const found = [
    models.label('listed'),
    models.label('loaded'),
    models.label('made-up'),
    models.label(undefined),
  ]
  expect(found).toEqual(['listed', 'loaded', 'unknown', ''])
})

test('a new model is found, and made up names ask the pool no more often than every 10 s', async () => {
  const { models, clock, state } = names([])
  await settled()
  state.listed = ['new']
  for (let at = 0; at < 1_000; at++) models.label(`made-up-${at}`)
  expect([state.asked, models.label('new')]).toEqual([1, 'unknown'])
  clock.advance(10_000)
  for (let at = 0; at < 1_000; at++) models.label(`made-up-${at}`)
  await settled()
  expect([state.asked, models.label('new')]).toEqual([2, 'new'])
})

test('while the pool is away, names of before stay', async () => {
  const { models, clock, state } = names(['listed'])
  await settled()
  state.isAway = true
  clock.advance(10_000)
  models.label('made-up')
  await settled()
  expect(models.label('listed')).toBe('listed')
})
