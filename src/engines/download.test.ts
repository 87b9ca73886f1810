import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Dispatcher } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Answer, FileServer, inTurn, serving, status } from '../../test/support/file-server.ts'
import { mountSmallDisk, noSmallDisk } from '../../test/support/small-disk.ts'
import type { Progress } from '../core/progress.ts'
import { type DownloadOptions, downloadFile } from './download.ts'
import { freeBytes } from './free-space.ts'
import { createDispatcher } from './http-dispatcher.ts'

const NO_PROXY = { httpProxy: undefined, httpsProxy: undefined, noProxy: undefined }
const content = randomBytes(3_000_000)
const sha256 = createHash('sha256').update(content).digest('hex')

let folder: string
let server: FileServer
let dispatcher: Dispatcher

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'helixflow-download-'))
  server = await FileServer.start(serving(content, { etag: '"v1"' }))
  dispatcher = createDispatcher({ proxy: NO_PROXY })
})

afterEach(async () => {
  await dispatcher.destroy()
  await server.stop()
  await rm(folder, { recursive: true, force: true })
})

function download(options: Partial<DownloadOptions> = {}) {
  return downloadFile({
    url: `${server.url}/file.bin`,
    into: join(folder, 'file.bin'),
    dispatcher,
    retryDelayMs: 1,
    ...options,
  })
}

function rangeStart(range: string | undefined): number {
  return range === undefined ? 0 : Number(/^bytes=(\d+)-$/.exec(range)?.[1])
}

/** Aborts as soon as some bytes are on the disk, so that a part is left. */
async function downloadPart(answer: Answer = serving(content, { etag: '"v1"', cutAfterBytes: 1_000_000 })) {
  server.answer = answer
  const controller = new AbortController()
  const onProgress = () => controller.abort(new DOMException('enough', 'AbortError'))
  await expect(download({ signal: controller.signal, onProgress })).rejects.toThrow('enough')
  server.seen.length = 0
  return (await readFile(join(folder, 'file.bin.partial'))).length
}

describe('a whole file', () => {
  test('has the bytes that the server has, and nothing lies beside it', async () => {
    const steps: Progress[] = []
    const whole = await download({
      sha256,
      sizeBytes: content.length,
      onProgress: (step) => steps.push(step),
    })
    expect(whole).toEqual({ sha256, sizeBytes: content.length })
    expect((await readFile(join(folder, 'file.bin'))).equals(content)).toBe(true)
    expect(await readdir(folder)).toEqual(['file.bin'])
    expect(steps.at(-1)).toMatchObject({ done: content.length, total: content.length, unit: 'bytes' })
  })

  test('comes also from a server that does not say how large it is', async () => {
    server.answer = (_request, response) => response.writeHead(200).end(content)
    expect(await download()).toEqual({ sha256, sizeBytes: content.length })
  })

  test('comes through redirects, and credentials go to the first host only', async () => {
    const other = await FileServer.start(serving(content))
    try {
      server.answer = inTurn(
        status(302, { location: '/moved' }),
        status(307, { location: `http://localhost:${other.port}/elsewhere` }),
      )
      await download({ headers: { authorization: 'Bearer secret' }, sha256 })
      expect(server.seen.map(({ path, headers }) => [path, headers.authorization])).toEqual([
        ['/file.bin', 'Bearer secret'],
        ['/moved', 'Bearer secret'],
      ])
      expect(other.seen.map(({ path, headers }) => [path, headers.authorization])).toEqual([
        ['/elsewhere', undefined],
      ])
    } finally {
      await other.stop()
    }
  })

  test('comes with user and password of the URL, which are kept nowhere', async () => {
    server.answer = serving(content, { etag: '"v1"', cutAfterBytes: 500_000 })
    const url = `http://user:pass%20word@127.0.0.1:${server.port}/file.bin?token=secret`
    const error = await download({ url }).catch((cause: unknown) => cause)
    const basic = `Basic ${Buffer.from('user:pass word').toString('base64')}`
    expect(server.seen[0]?.headers.authorization).toBe(basic)
    expect(String(error)).not.toMatch(/pass|secret/)
    expect(await readFile(join(folder, 'file.bin.partial.json'), 'utf8')).not.toMatch(/pass|secret|token/)
  })
})

describe('a connection that breaks', () => {
  test('is taken up again where it broke', async () => {
    server.answer = inTurn(
      serving(content, { etag: '"v1"', cutAfterBytes: 1_000_000 }),
      serving(content, { etag: '"v1"', cutAfterBytes: 500_000 }),
      serving(content, { etag: '"v1"' }),
    )
    expect(await download({ sha256 })).toEqual({ sha256, sizeBytes: content.length })
    const starts = server.seen.map(({ headers }) => rangeStart(headers.range))
    expect(starts).toHaveLength(3)
    expect(starts[0]).toBe(0)
    // What lay unread in a buffer when the connection broke is fetched again.
    expect(starts[1]).toBeGreaterThan(500_000)
    expect(starts[2]).toBeGreaterThan(starts[1] ?? 0)
    expect(server.seen.map(({ headers }) => headers['if-range'])).toEqual([undefined, '"v1"', '"v1"'])
  })

  test('is given up after five times in a row; what has arrived is kept, not under the name of the file', async () => {
    server.answer = inTurn(
      serving(content, { etag: '"v1"', cutAfterBytes: 1_000_000 }),
      (_request, response) => response.destroy(),
    )
    await expect(download({ sha256 })).rejects.toMatchObject({
      code: 'download_interrupted',
      message: expect.stringMatching(
        /broke off after .* of 3\.0 MB, 5 tries in a row.*run the same command again/,
      ),
    })
    expect(server.seen).toHaveLength(5)
    expect((await readdir(folder)).sort()).toEqual(['file.bin.partial', 'file.bin.partial.json'])
  })

  test('is not given up while each one brings a fair part', async () => {
    const many = randomBytes(7 * 2 ** 21)
    server.answer = serving(many, { etag: '"v1"', cutAfterBytes: 2 ** 21 })
    expect(await download()).toMatchObject({ sizeBytes: many.length })
    expect(server.seen.length).toBeGreaterThan(5)
  })

  test('counts as broken when the server falls silent', async () => {
    server.answer = inTurn(
      (_request, response) => {
        response.writeHead(200, { 'content-length': content.length, etag: '"v1"' })
        response.write(content.subarray(0, 1000))
      },
      serving(content, { etag: '"v1"' }),
    )
    expect(await download({ sha256, stallTimeoutMs: 100 })).toMatchObject({ sha256 })
    expect(server.seen[1]?.headers.range).toBe('bytes=1000-')
  })

  test('counts as broken when the server answers 503, and its Retry-After is heard', async () => {
    server.answer = inTurn(status(503, { 'retry-after': '1' }), serving(content))
    const startMs = performance.now()
    expect(await download({ sha256 })).toMatchObject({ sha256 })
    expect(performance.now() - startMs).toBeGreaterThan(950)
  })
})

describe('a later call', () => {
  test('goes on where the abort of an earlier one left off', async () => {
    const partBytes = await downloadPart()
    server.answer = serving(content, { etag: '"v1"' })
    expect(await download({ sha256 })).toEqual({ sha256, sizeBytes: content.length })
    expect(partBytes).toBeGreaterThan(0)
    expect(server.seen.map(({ headers }) => headers.range)).toEqual([`bytes=${partBytes}-`])
    expect(await readdir(folder)).toEqual(['file.bin'])
  })

  test('starts anew when the file has changed', async () => {
    await downloadPart()
    const changed = randomBytes(2_000_000)
    server.answer = serving(changed, { etag: '"v2"' })
    expect(await download()).toMatchObject({ sizeBytes: changed.length })
    expect((await readFile(join(folder, 'file.bin'))).equals(changed)).toBe(true)
  })

  test('starts anew when the server sends a range of a changed file in spite of If-Range', async () => {
    await downloadPart()
    const changed = randomBytes(2_000_000)
    server.answer = (request, response) => {
      request.headers['if-range'] = '"v2"'
      serving(changed, { etag: '"v2"' })(request, response)
    }
    await download()
    expect((await readFile(join(folder, 'file.bin'))).equals(changed)).toBe(true)
  })

  test('starts anew when the server ignores ranges', async () => {
    await downloadPart()
    server.answer = (_request, response) =>
      response.writeHead(200, { 'content-length': content.length }).end(content)
    expect(await download({ sha256 })).toMatchObject({ sha256 })
  })

  test('starts anew when there is no telling whether the file is the same', async () => {
    await downloadPart(serving(content, { cutAfterBytes: 1_000_000 }))
    server.answer = serving(content)
    await download()
    expect(server.seen.map(({ headers }) => headers.range)).toEqual([undefined])
  })

  test('starts anew when the part is of another address', async () => {
    await downloadPart()
    server.answer = serving(content, { etag: '"v1"' })
    await download({ url: `${server.url}/other.bin` })
    expect(server.seen.map(({ headers }) => headers.range)).toEqual([undefined])
  })

  test('starts anew when the record was cut off by a crash', async () => {
    await downloadPart()
    await writeFile(join(folder, 'file.bin.partial.json'), '{"url":"ht')
    server.answer = serving(content, { etag: '"v1"' })
    await download({ sha256 })
    expect(server.seen.map(({ headers }) => headers.range)).toEqual([undefined])
  })

  test('starts anew, once, when the part turns out to be wrong', async () => {
    const partBytes = await downloadPart()
    await writeFile(join(folder, 'file.bin.partial'), randomBytes(partBytes))
    server.answer = serving(content, { etag: '"v1"' })
    expect(await download({ sha256 })).toMatchObject({ sha256 })
    expect(server.seen.map(({ headers }) => headers.range)).toEqual([`bytes=${partBytes}-`, undefined])
  })

  test('needs no byte more when the part is the whole file', async () => {
    await downloadPart()
    await writeFile(join(folder, 'file.bin.partial'), content)
    server.answer = serving(content, { etag: '"v1"' })
    expect(await download({ sha256 })).toMatchObject({ sha256 })
    expect(server.seen.map(({ headers }) => headers.range)).toEqual([`bytes=${content.length}-`])
  })

  test('keeps the part when the host is out of reach meanwhile', async () => {
    const partBytes = await downloadPart()
    const { url } = server
    await server.stop()
    await expect(download({ url: `${url}/file.bin` })).rejects.toMatchObject({
      code: 'model_source_unavailable',
    })
    expect((await readFile(join(folder, 'file.bin.partial'))).length).toBe(partBytes)
  })
})

describe('nothing is left', () => {
  afterEach(async () => {
    expect(await readdir(folder)).toEqual([])
  })

  test('of a file with another checksum', async () => {
    const wanted = 'a'.repeat(64)
    await expect(download({ sha256: wanted })).rejects.toMatchObject({
      code: 'checksum_mismatch',
      message: expect.stringContaining(`has the SHA-256 ${sha256}, but ${wanted} was expected`),
    })
  })

  test('of a file of another size, of which no byte is fetched', async () => {
    await expect(download({ sizeBytes: 5 })).rejects.toMatchObject({
      code: 'checksum_mismatch',
      message: expect.stringContaining(`is ${content.length} bytes large, but 5 bytes were expected`),
    })
  })

  test('of a file that turns out larger than expected while it arrives', async () => {
    server.answer = (_request, response) => response.writeHead(200).end(content)
    await expect(download({ sizeBytes: 5 })).rejects.toMatchObject({ code: 'checksum_mismatch' })
  })

  test('of a file for which the disk has too little room, and no byte of it is fetched', async () => {
    const tooMany = (await freeBytes(folder)) * 2
    server.answer = (_request, response) => {
      response.writeHead(200, { 'content-length': tooMany })
      response.write('x')
    }
    await expect(download()).rejects.toMatchObject({
      code: 'disk_full',
      message: expect.stringMatching(/Too little room in .*: [\d.]+ GB are needed, [\d.]+ GB are free/),
    })
  })

  test.each([
    [401, 'access is denied'],
    [403, 'access is denied'],
    [404, 'there is no such file'],
    [418, 'does not give the file'],
  ])('of an answer with status %i, which is not asked for twice', async (code, text) => {
    server.answer = status(code)
    await expect(download()).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining(text),
    })
    expect(server.seen).toHaveLength(1)
  })

  test('of a server that only ever fails', async () => {
    server.answer = status(500)
    await expect(download()).rejects.toMatchObject({ code: 'model_source_unavailable' })
    expect(server.seen).toHaveLength(5)
  })

  test('of a host that refuses the connection, at once', async () => {
    const { url } = server
    await server.stop()
    await expect(download({ url, retryDelayMs: 60_000 })).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining('refuses the connection'),
    })
  })

  test('of redirects in a circle', async () => {
    server.answer = status(302, { location: '/file.bin' })
    await expect(download()).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining('redirects more than 10 times'),
    })
  })

  test('of a redirect to something that is no web address', async () => {
    server.answer = status(302, { location: 'file:///etc/passwd' })
    await expect(download()).rejects.toMatchObject({ code: 'model_source_unavailable' })
  })
})

describe.skipIf(noSmallDisk)(`a disk that fills up${noSmallDisk ? ` (skipped: ${noSmallDisk})` : ''}`, () => {
  test('while the file arrives leaves nothing, and says so', async () => {
    const disk = mountSmallDisk('1m')
    try {
      // Without a length nothing can be known beforehand.
      server.answer = (_request, response) => response.writeHead(200).end(content)
      await expect(download({ into: join(disk.path, 'file.bin') })).rejects.toMatchObject({
        code: 'disk_full',
        message: expect.stringMatching(/Too little room .* are free\. Free some space/),
      })
      expect(await readdir(disk.path)).toEqual([])
    } finally {
      disk.unmount()
    }
  })
})
