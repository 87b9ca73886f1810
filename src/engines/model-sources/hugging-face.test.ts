import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Answer, FileServer, serving, status } from '../../../test/support/file-server.ts'
import { fetchRequest, sha256Of, sourceSettings } from '../../../test/support/model-sources.ts'
import { huggingFace } from './hugging-face.ts'

const content = randomBytes(100_000)
const sha256 = sha256Of(content)
const COMMIT = 'ab810cf68114990406fdf996510dd3d3c6adbdf5'

describe('a reference', () => {
  test.each([
    ['hf:owner/repo/model.gguf', 'hf:owner/repo/model.gguf'],
    ['hf:owner/repo@v1.0/sub/model.gguf', 'hf:owner/repo@v1.0/sub/model.gguf'],
    ['hf.co/owner/repo/model.GGUF', 'hf:owner/repo/model.GGUF'],
    ['https://huggingface.co/owner/repo/blob/main/model.gguf', 'hf:owner/repo/model.gguf'],
    [
      'https://huggingface.co/owner/repo/resolve/v2/a/model.gguf?download=true',
      'hf:owner/repo@v2/a/model.gguf',
    ],
    ['https://hf.co/owner/repo/blob/refs%2Fpr%2F1/model.gguf', 'hf:owner/repo@refs%2Fpr%2F1/model.gguf'],
  ])('%s is understood', (reference, source) => {
    const origin = huggingFace(reference)
    expect(origin?.source).toBe(source)
    expect(huggingFace(origin?.source ?? '')?.source).toBe(source)
    expect(origin?.fileName).toMatch(/^model\.gguf$/i)
  })

  test.each([
    'hf:owner/repo',
    'hf:repo.gguf',
    'hf:owner/repo/readme.md',
    'hf:owner/repo/../model.gguf',
    'hf:owner/repo/%2e%2e/model.gguf',
    'hf:owner/repo//model.gguf',
    'hf:owner/repo@/model.gguf',
    'hf:/repo/model.gguf',
    'hf:owner/repo/%zz.gguf',
  ])('%s is refused with the right way to write it', (reference) => {
    expect(() => huggingFace(reference)).toThrow(/Write hf:owner\/repository\/path\/file\.gguf/)
  })

  test.each(['pypi:a==1/b.gguf', 'https://example.com/owner/repo/model.gguf', './hf.gguf'])(
    '%s is for others',
    (text) => expect(huggingFace(text)).toBeUndefined(),
  )

  test('with a commit is of the same bytes for ever, one with a branch is not', () => {
    expect(huggingFace(`hf:owner/repo@${COMMIT}/model.gguf`)?.immutable).toBe(true)
    expect(huggingFace('hf:owner/repo/model.gguf')?.immutable).toBe(false)
  })
})

describe('a file', () => {
  let folder: string
  let hub: FileServer
  let storage: FileServer

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'helixflow-hf-'))
    storage = await FileServer.start(serving(content, { etag: '"storage"' }))
    hub = await FileServer.start(redirecting({ 'x-linked-etag': `"${sha256}"` }))
  })

  afterEach(async () => {
    await hub.stop()
    await storage.stop()
    await rm(folder, { recursive: true, force: true })
  })

  /** As the hub does with large files: facts in the headers, bytes elsewhere. `localhost` is another host. */
  function redirecting(headers: Record<string, string>): Answer {
    const location = () => `http://localhost:${storage.port}/bytes`
    const size = { 'x-linked-size': String(content.length) }
    return (request, response) =>
      status(302, { location: location(), ...size, ...headers })(request, response)
  }

  function fetch(reference: string, changes: { sha256?: string; token?: string } = {}) {
    const settings = sourceSettings({ huggingFace: { endpoint: `${hub.url}/`, token: changes.token } })
    const request = fetchRequest(join(folder, 'model.gguf'), settings, { sha256: changes.sha256 })
    return huggingFace(reference)?.fetch(request)
  }

  test('is fetched from where the hub says, verified by what the hub says', async () => {
    expect(await fetch(`hf:owner/repo@${COMMIT}/sub folder/model.gguf`)).toEqual({
      sha256,
      sizeBytes: content.length,
    })
    const path = `/owner/repo/resolve/${COMMIT}/sub%20folder/model.gguf`
    expect(hub.seen.map((request) => [request.method, request.path])).toEqual([
      ['HEAD', path],
      ['GET', path],
    ])
    expect(await readdir(folder)).toEqual(['model.gguf'])
  })

  test('whose bytes are not those of which the hub speaks is thrown away', async () => {
    storage.answer = serving(randomBytes(content.length))
    await expect(fetch('hf:owner/repo/model.gguf')).rejects.toMatchObject({ code: 'checksum_mismatch' })
    expect(await readdir(folder)).toEqual([])
  })

  test('that is another one than expected is not even fetched', async () => {
    await expect(fetch('hf:owner/repo/model.gguf', { sha256: 'b'.repeat(64) })).rejects.toMatchObject({
      code: 'checksum_mismatch',
    })
    expect(storage.seen).toEqual([])
  })

  test('of a hub that tells no SHA-256 is fetched all the same', async () => {
    hub.answer = redirecting({ 'x-linked-etag': '"0123456789abcdef0123456789abcdef01234567"' })
    expect(await fetch('hf:owner/repo/model.gguf')).toMatchObject({ sha256 })
  })

  test('is asked for with the token, which no other host sees', async () => {
    await fetch('hf:owner/repo/model.gguf', { token: 'hf_secret' })
    expect(hub.seen.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer hf_secret',
      'Bearer hf_secret',
    ])
    expect(storage.seen.map(({ headers }) => headers.authorization)).toEqual([undefined])
  })

  test.each([
    [401, 'HF_TOKEN'],
    [403, 'HF_TOKEN'],
    [404, 'no such repository, revision or file'],
    [500, 'does not give it now'],
  ])('that the hub refuses with %i leads to advice', async (code, advice) => {
    hub.answer = status(code, { 'x-error-message': 'Access to model is restricted' })
    await expect(fetch('hf:owner/repo/model.gguf')).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringMatching(new RegExp(`${advice}.*status ${code}: Access to model is restricted`)),
    })
  })

  test('is identified by what the hub says, without fetching it', async () => {
    const settings = sourceSettings({ huggingFace: { endpoint: hub.url } })
    const origin = huggingFace('hf:owner/repo/model.gguf')
    expect(await origin?.identify?.(fetchRequest('', settings))).toBe(sha256)
    expect(storage.seen).toEqual([])
  })
})
