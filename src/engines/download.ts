import { readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import { z } from 'zod'
import { HelixError } from '../core/errors.ts'
import { noProgress, type OnProgress } from '../core/progress.ts'
import { byteText } from './byte-text.ts'
import { asDiskFull, requireFreeSpace } from './free-space.ts'
import { bodyChunks, type HttpResponse, publicUrl, sendRequest } from './http-request.ts'
import { PartialFile, type WholeFile } from './partial-file.ts'

export interface DownloadOptions {
  /** May hold credentials; they are neither shown nor kept. */
  readonly url: string
  /** Sent to the URL's own origin; credentials among them follow no redirect to another. */
  readonly headers?: Readonly<Record<string, string>>
  /** The path of the whole file. Until then `<into>.partial` and `<into>.partial.json` lie beside it. */
  readonly into: string
  readonly sha256?: string | undefined
  readonly sizeBytes?: number | undefined
  readonly dispatcher: Dispatcher
  readonly onProgress?: OnProgress | undefined
  readonly signal?: AbortSignal | undefined
  /** Longest silence of the server. */
  readonly stallTimeoutMs?: number
  /** Pause after the first failure; it doubles with each further one. */
  readonly retryDelayMs?: number
}

const FAILURES_MAX = 5
/** A connection that brought this much was worth its while: the count of failures starts anew. */
const FAIR_PROGRESS_BYTES = 2 ** 20
const PAUSE_MS_MAX = 30_000

/**
 * Fetches a file over HTTP, going on where an earlier call stopped if the file is still the same. It gets its
 * name when it is whole, verified and on the disk. A wrong checksum or a full disk leaves nothing; an abort
 * or a broken connection leaves the partial file for the next call.
 * @throws HelixError `disk_full`, `checksum_mismatch`, `download_interrupted`, `model_source_unavailable`;
 *   the signal's reason when it aborts
 */
export async function downloadFile(options: DownloadOptions): Promise<WholeFile> {
  const { onProgress = noProgress, signal } = options
  const partialPath = `${options.into}.partial`
  const record = await readRecord(options)
  if (record === undefined) await rm(partialPath, { force: true })
  const partial = await PartialFile.open(partialPath, { onProgress, signal })
  const transfer: Transfer = { options, partial, validator: record?.validator, answered: false }
  try {
    const resumed = partial.sizeBytes > 0
    await fetchAll(transfer)
    // The bytes of the earlier run may have been of another file: that is no fault of the server's.
    if (resumed && !isExpected(transfer)) {
      await partial.restart()
      await fetchAll(transfer)
    }
    if (!isExpected(transfer)) throw checksumMismatch(options, partial.sha256)
    const whole = await partial.land(options.into)
    await rm(recordPath(options), { force: true })
    return whole
  } catch (cause) {
    if (partial.sizeBytes === 0 || isWorthless(cause)) {
      await partial.discard()
      await rm(recordPath(options), { force: true })
    }
    throw cause
  } finally {
    await partial.close()
  }
}

interface Transfer {
  readonly options: DownloadOptions
  readonly partial: PartialFile
  /** ETag or date of what the partial file is a part of. */
  validator: string | undefined
  /** The host has answered in this call: losing it now is a cut, not a host that is out of reach. */
  answered: boolean
}

function isExpected({ options, partial }: Transfer): boolean {
  return options.sha256 === undefined || options.sha256 === partial.sha256
}

/** The bytes are wrong, or the room that they take is needed elsewhere. */
function isWorthless(cause: unknown): boolean {
  return cause instanceof HelixError && (cause.code === 'checksum_mismatch' || cause.code === 'disk_full')
}

/** Fetches until nothing is missing, over as many connections as that takes. */
async function fetchAll(transfer: Transfer): Promise<void> {
  const { options, partial } = transfer
  for (let failures = 0; ; ) {
    const startBytes = partial.sizeBytes
    try {
      return await fetchRest(transfer)
    } catch (cause) {
      options.signal?.throwIfAborted()
      if (!(cause instanceof HelixError) || cause.code !== 'download_interrupted') throw cause
      failures = partial.sizeBytes - startBytes >= FAIR_PROGRESS_BYTES ? 1 : failures + 1
      if (failures >= FAILURES_MAX) throw interrupted(transfer, cause)
      await pause(options, failures, cause.retryAfterMs)
    }
  }
}

/** One connection. Returns when nothing is missing any more. */
async function fetchRest(transfer: Transfer): Promise<void> {
  const { options, partial } = transfer
  if (!canContinue(transfer)) await partial.restart()
  if (partial.sizeBytes === options.sizeBytes) return
  const response = await ask(transfer)
  transfer.answered = true
  if (partial.sizeBytes > 0 && (response.status === 416 || response.status === 206)) {
    const range = contentRange(response)
    if (response.status === 416 && range?.totalBytes === partial.sizeBytes) return await response.body.dump()
    if (response.status === 206 && range?.startBytes === partial.sizeBytes && isSame(response, transfer)) {
      return await receive(transfer, response, range.totalBytes)
    }
    await response.body.dump()
    await partial.restart()
    return await fetchRest(transfer)
  }
  if (response.status !== 200) throw await refused(response)
  await partial.restart()
  transfer.validator = validatorOf(response)
  await writeRecord(transfer)
  await receive(transfer, response, contentLength(response))
}

/** Without a way to tell whether the file is still the same, its parts must not be put together. */
function canContinue({ options, partial, validator }: Transfer): boolean {
  if (options.sizeBytes !== undefined && partial.sizeBytes > options.sizeBytes) return false
  return validator !== undefined || options.sha256 !== undefined
}

async function ask({ options, partial, validator, answered }: Transfer): Promise<HttpResponse> {
  const { url, headers, dispatcher, signal, stallTimeoutMs = 30_000 } = options
  const range = partial.sizeBytes > 0 ? { range: `bytes=${partial.sizeBytes}-` } : {}
  const condition = partial.sizeBytes > 0 && validator !== undefined ? { 'if-range': validator } : {}
  try {
    return await sendRequest({
      url,
      headers: { ...headers, ...range, ...condition },
      dispatcher,
      signal,
      stallTimeoutMs,
    })
  } catch (cause) {
    if (!answered || !(cause instanceof HelixError)) throw cause
    throw new HelixError('download_interrupted', cause.publicMessage, { cause })
  }
}

async function receive(
  transfer: Transfer,
  response: HttpResponse,
  announced: number | undefined,
): Promise<void> {
  const { options, partial } = transfer
  const { onProgress = noProgress, into, sizeBytes } = options
  const total = announced ?? sizeBytes
  try {
    if (sizeBytes !== undefined && total !== sizeBytes) throw sizeMismatch(options, total)
    if (total !== undefined) await requireFreeSpace(dirname(into), total - partial.sizeBytes)
  } catch (cause) {
    await response.body.dump()
    throw cause
  }
  partial.expectedBytes = total
  const step = `downloading from ${new URL(response.url).host}`
  for await (const chunk of bodyChunks(response)) {
    if (total !== undefined && partial.sizeBytes + chunk.length > total)
      throw sizeMismatch(options, undefined)
    await partial.append(chunk)
    onProgress({ step, done: partial.sizeBytes, total, unit: 'bytes' })
  }
  if (total !== undefined && partial.sizeBytes < total) {
    throw new HelixError('download_interrupted', `${new URL(response.url).host}: the connection ended early.`)
  }
}

function contentLength(response: HttpResponse): number | undefined {
  const text = response.header('content-length')
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text)
}

function contentRange(
  response: HttpResponse,
): { startBytes: number | undefined; totalBytes: number | undefined } | undefined {
  const match = /^bytes (?:(\d+)-\d+|\*)\/(?:(\d+)|\*)$/.exec(response.header('content-range') ?? '')
  if (match === null) return undefined
  const [, start, total] = match
  return {
    startBytes: start === undefined ? undefined : Number(start),
    totalBytes: total === undefined ? undefined : Number(total),
  }
}

/** A weak ETag says that two files mean the same, not that their bytes are. */
function validatorOf(response: HttpResponse): string | undefined {
  const etag = response.header('etag')
  return etag === undefined || etag.startsWith('W/') ? response.header('last-modified') : etag
}

/** Some servers send the range whatever If-Range says. */
function isSame(response: HttpResponse, { validator }: Transfer): boolean {
  const present = validatorOf(response)
  return validator === undefined || present === undefined || present === validator
}

async function refused(response: HttpResponse): Promise<HelixError> {
  await response.body.dump()
  const { status } = response
  const place = publicUrl(response.url)
  if (status === 429 || status >= 500) {
    return new HelixError('download_interrupted', `${place}: the host answers status ${status}.`, {
      retryAfterMs: retryAfterMs(response),
    })
  }
  return new HelixError('model_source_unavailable', `${place}: ${refusal(status)} (status ${status}).`)
}

function refusal(status: number): string {
  if (status === 401 || status === 403) return 'access is denied; it may need a token or a password'
  if (status === 404 || status === 410) return 'there is no such file'
  return 'the host does not give the file'
}

function retryAfterMs(response: HttpResponse): number | undefined {
  const seconds = response.header('retry-after')
  return seconds !== undefined && /^\d+$/.test(seconds) ? Number(seconds) * 1000 : undefined
}

async function pause(options: DownloadOptions, failures: number, leastMs = 0): Promise<void> {
  const { retryDelayMs = 500, signal } = options
  const pauseMs = Math.min(PAUSE_MS_MAX, Math.max(leastMs, retryDelayMs * 2 ** (failures - 1)))
  try {
    await wait(pauseMs, undefined, signal === undefined ? {} : { signal })
  } catch (cause) {
    signal?.throwIfAborted()
    throw cause
  }
}

function interrupted({ options, partial }: Transfer, cause: HelixError): HelixError {
  if (partial.sizeBytes === 0) {
    return new HelixError('model_source_unavailable', `${cause.publicMessage} ${FAILURES_MAX} tries.`, {
      cause,
    })
  }
  const total = partial.expectedBytes === undefined ? '' : ` of ${byteText(partial.expectedBytes)}`
  return new HelixError(
    'download_interrupted',
    `The download of ${publicUrl(options.url)} broke off after ${byteText(partial.sizeBytes)}${total}, ` +
      `${FAILURES_MAX} tries in a row. The last one: ${cause.publicMessage} ` +
      'What has arrived is kept: run the same command again to go on from there.',
    { cause },
  )
}

function checksumMismatch({ url, sha256 }: DownloadOptions, found: string): HelixError {
  return new HelixError(
    'checksum_mismatch',
    `${publicUrl(url)} has the SHA-256 ${found}, but ${sha256} was expected: it was damaged on the way, ` +
      'or it is another file. Nothing of it was kept. Run the command again, or take another source.',
  )
}

function sizeMismatch({ url, sizeBytes }: DownloadOptions, found: number | undefined): HelixError {
  const size = found === undefined ? 'larger than it said or was expected' : `${found} bytes large`
  const expected = sizeBytes === undefined ? '' : `, but ${sizeBytes} bytes were expected`
  return new HelixError(
    'checksum_mismatch',
    `${publicUrl(url)} is ${size}${expected}: it is another file. Nothing of it was kept.`,
  )
}

/** What the partial file is a part of. */
const PartialRecord = z.object({ url: z.string(), validator: z.string().optional() })

function recordPath({ into }: DownloadOptions): string {
  return `${into}.partial.json`
}

/**
 * Undefined when there is none, or it is of another file, or a crash cut it off: then the download starts
 * anew.
 */
async function readRecord(options: DownloadOptions): Promise<z.output<typeof PartialRecord> | undefined> {
  try {
    const record = PartialRecord.parse(JSON.parse(await readFile(recordPath(options), 'utf8')))
    return record.url === publicUrl(options.url) ? record : undefined
  } catch (cause) {
    const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
    if (isMissing || cause instanceof SyntaxError || cause instanceof z.ZodError) return undefined
    throw cause
  }
}

async function writeRecord({ options, validator, partial }: Transfer): Promise<void> {
  const record: z.input<typeof PartialRecord> = { url: publicUrl(options.url), validator }
  try {
    await writeFile(recordPath(options), JSON.stringify(record))
  } catch (cause) {
    throw await asDiskFull(cause, dirname(options.into), partial.expectedBytes)
  }
}
