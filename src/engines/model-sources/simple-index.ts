import type { Dispatcher } from 'undici'
import { z } from 'zod'
import { HelixError } from '../../core/errors.ts'
import { bodyChunks, type HttpResponse, publicUrl, sendRequest, withoutCredentials } from '../http-request.ts'

export interface IndexedFile {
  readonly fileName: string
  readonly url: string
  readonly sha256: string | undefined
  readonly sizeBytes: number | undefined
  /** Credentials of the index, when the file lies on the same host. */
  readonly headers: Readonly<Record<string, string>>
}

export interface IndexRequest {
  readonly indexUrl: string
  readonly packageName: string
  readonly dispatcher: Dispatcher
  readonly signal: AbortSignal | undefined
}

const PAGE_BYTES_MAX = 32 * 2 ** 20

/**
 * The files of a package on a Python package index (PEP 503 pages, PEP 691 JSON). None when the index does
 * not have the package.
 * @throws HelixError `model_source_unavailable`, `download_interrupted`; the signal's reason when it aborts
 */
export async function listPackageFiles(request: IndexRequest): Promise<IndexedFile[]> {
  const { indexUrl, packageName, dispatcher, signal } = request
  if (!URL.canParse(indexUrl) || !/^https?:/i.test(indexUrl)) {
    throw new HelixError(
      'model_source_unavailable',
      "pip's index-url is no web address. Correct PIP_INDEX_URL or pip.conf, for example https://pypi.org/simple.",
    )
  }
  const response = await sendRequest({
    url: `${indexUrl.replace(/\/+$/, '')}/${normalizedPackageName(packageName)}/`,
    headers: { accept: 'application/vnd.pypi.simple.v1+json, text/html;q=0.5' },
    dispatcher,
    signal,
  })
  if (response.status === 404) {
    await response.body.dump()
    return []
  }
  if (response.status !== 200) {
    await response.body.dump()
    throw unusable(response, `answers status ${response.status}`)
  }
  const page = await readPage(response, signal)
  const isJson = response.header('content-type')?.includes('json') ?? false
  const files = isJson ? parseJson(page, response) : parseHtml(page, response.url)
  const { headers } = withoutCredentials(indexUrl)
  const { origin } = new URL(indexUrl)
  return files.map((file) => ({ ...file, headers: new URL(file.url).origin === origin ? headers : {} }))
}

/** Packages are the same whatever case and separators their names are written with (PEP 503). */
export function normalizedPackageName(name: string): string {
  return name.toLowerCase().replaceAll(/[-_.]+/g, '-')
}

async function readPage(response: HttpResponse, signal: AbortSignal | undefined): Promise<string> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  try {
    for await (const chunk of bodyChunks(response)) {
      sizeBytes += chunk.length
      if (sizeBytes > PAGE_BYTES_MAX) throw unusable(response, 'answers with a page of unbelievable size')
      chunks.push(chunk)
    }
  } catch (cause) {
    signal?.throwIfAborted()
    throw cause
  }
  return Buffer.concat(chunks).toString('utf8')
}

const JsonPage = z.object({
  files: z.array(
    z.object({
      filename: z.string(),
      url: z.string(),
      hashes: z.object({ sha256: z.string().optional() }).optional(),
      size: z.number().int().nonnegative().optional(),
    }),
  ),
})

type PageFile = Omit<IndexedFile, 'headers'>

function parseJson(page: string, response: HttpResponse): PageFile[] {
  try {
    return JsonPage.parse(JSON.parse(page)).files.map((file) => ({
      fileName: file.filename,
      url: new URL(file.url, response.url).href,
      sha256: file.hashes?.sha256,
      sizeBytes: file.size,
    }))
  } catch (cause) {
    throw unusable(response, 'answers with JSON that is not of a package index', cause)
  }
}

function parseHtml(page: string, pageUrl: string): PageFile[] {
  const base = attribute(/<base\b([^>]*)>/i.exec(page)?.[1] ?? '', 'href')
  const baseUrl = base !== undefined && URL.canParse(base, pageUrl) ? new URL(base, pageUrl).href : pageUrl
  return [...page.matchAll(/<a\b([^>]*)>/gi)].flatMap(([, attributes = '']) => {
    const link = attribute(attributes, 'href')
    if (link === undefined || !URL.canParse(link, baseUrl)) return []
    const url = new URL(link, baseUrl)
    const sha256 = /(?:^#|&)sha256=([0-9a-f]{64})/i.exec(url.hash)?.[1]?.toLowerCase()
    url.hash = ''
    const fileName = (url.pathname.split('/').at(-1) ?? '').replaceAll(/%2b/gi, '+')
    return [{ fileName, url: url.href, sha256, sizeBytes: undefined }]
  })
}

function attribute(attributes: string, name: string): string | undefined {
  const match = new RegExp(`\\b${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s"'>]+))`, 'i').exec(attributes)
  const value = match?.[1] ?? match?.[2] ?? match?.[3]
  return value?.trim().replaceAll(/&(?:amp|#38|#x26);/gi, '&')
}

function unusable(response: HttpResponse, what: string, cause?: unknown): HelixError {
  return new HelixError('model_source_unavailable', `The package index ${publicUrl(response.url)} ${what}.`, {
    cause,
  })
}
