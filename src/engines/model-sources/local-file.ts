import { constants, createReadStream } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HelixError } from '../../core/errors.ts'
import { requireFreeSpace } from '../free-space.ts'
import { hashFile } from '../hash-file.ts'
import { PartialFile, type WholeFile } from '../partial-file.ts'
import type { FetchRequest, ModelSource } from './source.ts'

/**
 * A path, or `file:` with one. The file is copied: a link would break, or change, with the user's own file.
 */
export const localFile: ModelSource = (reference) => {
  const path = localPath(reference)
  if (path === undefined) return undefined
  return {
    source: `file:${path}`,
    fileName: basename(path),
    immutable: false,
    identify: async ({ onProgress, signal }) =>
      hashFile(path, { sizeBytes: await sizeOf(path), onProgress, signal }),
    fetch: (request) => copy(path, request),
  }
}

function localPath(reference: string): string | undefined {
  if (/^file:\/\//i.test(reference)) return pathOfUrl(reference)
  if (/^file:/i.test(reference)) return resolve(reference.slice('file:'.length))
  const looksLikePath = /^[a-z][a-z0-9+.-]*:/i.test(reference)
    ? false
    : reference.includes('/') || reference.toLowerCase().endsWith('.gguf')
  return looksLikePath ? resolve(reference) : undefined
}

function pathOfUrl(reference: string): string {
  try {
    return fileURLToPath(reference)
  } catch (cause) {
    throw new HelixError(
      'invalid_arguments',
      `'${reference}' is no file on this machine. Write its plain path.`,
      {
        cause,
      },
    )
  }
}

async function copy(from: string, request: FetchRequest): Promise<WholeFile> {
  const { into, onProgress, signal } = request
  const sizeBytes = await sizeOf(from)
  if (request.sizeBytes !== undefined && request.sizeBytes !== sizeBytes) {
    throw mismatch(from, `${sizeBytes} bytes`, `${request.sizeBytes} bytes`)
  }
  await requireFreeSpace(dirname(into), sizeBytes)
  const partial = await PartialFile.open(`${into}.partial`, { onProgress, signal })
  try {
    // Copying anew costs less than finding out whether the present part is still right.
    await partial.restart()
    partial.expectedBytes = sizeBytes
    const chunks = createReadStream(from, { highWaterMark: 2 ** 20 })
    for await (const chunk of chunks as AsyncIterable<Buffer>) {
      signal?.throwIfAborted()
      await partial.append(chunk)
      onProgress({ step: 'copying', done: partial.sizeBytes, total: sizeBytes, unit: 'bytes' })
    }
    if (request.sha256 !== undefined && partial.sha256 !== request.sha256) {
      throw mismatch(from, `the SHA-256 ${partial.sha256}`, request.sha256)
    }
    return await partial.land(into)
  } catch (cause) {
    await partial.discard()
    throw cause
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    await access(path, constants.R_OK)
    const found = await stat(path)
    if (found.isFile()) return found.size
  } catch (cause) {
    throw new HelixError('invalid_arguments', `${path} cannot be read. Check the path and its permissions.`, {
      internal: String(cause),
      cause,
    })
  }
  throw new HelixError('invalid_arguments', `${path} is not a file. Name the .gguf file itself.`)
}

function mismatch(path: string, found: string, expected: string): HelixError {
  return new HelixError(
    'checksum_mismatch',
    `${path} has ${found}, but ${expected} was expected: it is another file. Nothing of it was kept.`,
  )
}
