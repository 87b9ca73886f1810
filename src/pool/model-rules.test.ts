import { expect, test } from 'vitest'
import { parseConfig } from '../config/schema.ts'
import { ModelRules } from './model-rules.ts'

test('a folder goes to cards alone, whichever engine it is said to run in; a file goes anywhere', () => {
  const perModel = {
    said: { path: '/srv/said', engine: 'sglang' },
    unsaid: { path: '/srv/unsaid' },
    chosen: { path: '/srv/chosen', devices: ['GPU-1'] },
  }
  const { models, scheduler } = parseConfig({ models: { perModel } })
  const rules = new ModelRules(models, scheduler.groups)
  const onlyOn = ['said', 'unsaid', 'chosen', 'file'].map((name) => rules.placementOf(name).onlyOn)
  expect(onlyOn).toEqual([['cuda', 'rocm'], ['cuda', 'rocm'], ['GPU-1'], undefined])
})
