import { expect, test } from 'vitest'
import type { Replica } from '../../contracts/pool.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { ModelRevisions } from './model-revisions.ts'

function replica(model: string, revision: string): Replica {
  const address = { url: 'http://localhost', socketPath: undefined, apiKey: undefined }
  const unknown = {
    contextLength: undefined,
    supportsTools: undefined,
    vocabularySize: undefined,
    continues: false,
  }
  return {
    id: `${model}-${revision}`,
    model,
    engineModel: model,
    engine: 'upstream',
    address,
    slots: 1,
    ...unknown,
    revision,
  }
}

class Pool {
  asked: string[] = []
  files: Record<string, string> = { m: 'r1' }
  publish: (replicas: readonly Replica[]) => void = () => {}

  revision = async (model: string): Promise<string> => {
    this.asked.push(model)
    const revision = this.files[model]
    if (revision === undefined) throw new HelixError('model_not_found', 'No.')
    return revision
  }

  watchReplicas(listener: (replicas: readonly Replica[]) => void): () => void {
    this.publish = listener
    listener([])
    return () => {}
  }
}

test("the revision of a loaded model is its replica's, and asks nobody", () => {
  const pool = new Pool()
  const revisions = new ModelRevisions(pool, new ManualClock())
  pool.publish([replica('m', 'loaded')])
  pool.files = { m: 'replaced' }
  expect(revisions.of('m')).toBe('loaded')
  expect(pool.asked).toEqual([])
})

test('that of another model is asked for once a second, however many requests there are', async () => {
  const pool = new Pool()
  const clock = new ManualClock()
  const revisions = new ModelRevisions(pool, clock)
  expect(await Promise.all([revisions.of('m'), revisions.of('m')])).toEqual(['r1', 'r1'])
  expect(revisions.of('m')).toBe('r1')
  pool.files = { m: 'r2' }
  clock.advance(999)
  expect(revisions.of('m')).toBe('r1')
  clock.advance(1)
  expect(await revisions.of('m')).toBe('r2')
  expect(pool.asked).toEqual(['m', 'm'])
})

test('a model that comes or goes is asked for anew at once, and one that is not there is no answer', async () => {
  const pool = new Pool()
  const revisions = new ModelRevisions(pool, new ManualClock())
  await revisions.of('m')
  pool.publish([replica('m', 'r1')])
  pool.files = { m: 'r2' }
  pool.publish([])
  expect(await revisions.of('m')).toBe('r2')
  await expect(revisions.of('gone')).rejects.toMatchObject({ code: 'model_not_found' })
})
