import type { Dispatcher } from 'undici'
import { HelixError } from '../../core/errors.ts'
import { downloadFile } from '../download.ts'
import { withDispatcher } from '../http-dispatcher.ts'
import { type HttpResponse, sendRequest } from '../http-request.ts'
import type { WholeFile } from '../partial-file.ts'
import type { FetchRequest, ModelSource, SourceContext } from './source.ts'

/** A file in a repository of Hugging Face or of a mirror of it. */
interface Place {
  readonly repository: string
  readonly revision: string
  readonly path: string
}

const PREFIX = /^(?:hf:|(?:https?:\/\/)?(?:www\.)?(?:hf\.co|huggingface\.co)\/)/i
const NAME = /^[A-Za-z0-9][\w.-]*$/
const COMMIT = /^[0-9a-f]{40}$/

/** `hf:owner/repository[@revision]/path/file.gguf`, or the address of the file's page. */
export const huggingFace: ModelSource = (reference) => {
  if (!PREFIX.test(reference)) return undefined
  const place = parsePlace(reference)
  return {
    source: sourceText(place),
    fileName: place.path.split('/').at(-1) ?? place.path,
    immutable: COMMIT.test(place.revision),
    identify: (context) =>
      withDispatcher(context.settings, async (dispatcher) => (await look(place, context, dispatcher)).sha256),
    fetch: (request) =>
      withDispatcher(request.settings, (dispatcher) => fetchFile(place, request, dispatcher)),
  }
}

function parsePlace(reference: string): Place {
  const [address = ''] = reference.replace(PREFIX, '').split(/[?#]/)
  const [owner = '', name = '', ...rest] = address.split('/').map((part) => decoded(part, reference))
  const isAddress = rest[0] === 'blob' || rest[0] === 'resolve'
  const [repository = '', revision = 'main'] = isAddress ? [name, rest[1]] : name.split('@')
  const path = isAddress ? rest.slice(2) : rest
  const isPath = path.length > 0 && path.every((part) => part !== '' && part !== '.' && part !== '..')
  if (!NAME.test(owner) || !NAME.test(repository) || revision === '' || !isPath) throw malformed(reference)
  if (!path.at(-1)?.toLowerCase().endsWith('.gguf')) throw malformed(reference)
  return { repository: `${owner}/${repository}`, revision, path: path.join('/') }
}

function decoded(part: string, reference: string): string {
  try {
    return decodeURIComponent(part)
  } catch (cause) {
    throw malformed(reference, cause)
  }
}

function malformed(reference: string, cause?: unknown): HelixError {
  return new HelixError(
    'invalid_arguments',
    `'${reference}' names no GGUF file on Hugging Face. Write hf:owner/repository/path/file.gguf, ` +
      'hf:owner/repository@revision/path/file.gguf, or the address of the file in the browser.',
    { cause },
  )
}

function sourceText({ repository, revision, path }: Place): string {
  return `hf:${repository}${revision === 'main' ? '' : `@${encodeURIComponent(revision)}`}/${path}`
}

async function fetchFile(place: Place, request: FetchRequest, dispatcher: Dispatcher): Promise<WholeFile> {
  const told = await look(place, request, dispatcher)
  if (told.sha256 !== undefined && request.sha256 !== undefined && told.sha256 !== request.sha256) {
    throw new HelixError(
      'checksum_mismatch',
      `${sourceText(place)} has the SHA-256 ${told.sha256}, but ${request.sha256} was expected. ` +
        'Nothing was fetched: correct --sha256, or name the revision that you mean.',
    )
  }
  return await downloadFile({
    url: fileUrl(place, request),
    headers: authorization(request),
    into: request.into,
    sha256: request.sha256 ?? told.sha256,
    sizeBytes: request.sizeBytes ?? told.sizeBytes,
    dispatcher,
    onProgress: request.onProgress,
    signal: request.signal,
  })
}

/** What the hub says of the file. The hash is known for every large file, whatever host then delivers it. */
async function look(
  place: Place,
  context: SourceContext,
  dispatcher: Dispatcher,
): Promise<{ sha256: string | undefined; sizeBytes: number | undefined }> {
  const response = await sendRequest({
    method: 'HEAD',
    url: fileUrl(place, context),
    headers: authorization(context),
    dispatcher,
    signal: context.signal,
    redirects: 'same-origin',
  })
  await response.body.dump()
  if (response.status >= 400) throw refused(place, response)
  const size = response.header('x-linked-size')
  return {
    sha256: /^"?([0-9a-f]{64})"?$/.exec(response.header('x-linked-etag') ?? '')?.[1],
    sizeBytes: size !== undefined && /^\d+$/.test(size) ? Number(size) : undefined,
  }
}

function fileUrl({ repository, revision, path }: Place, { settings }: SourceContext): string {
  const encodedPath = path.split('/').map(encodeURIComponent).join('/')
  const endpoint = settings.huggingFace.endpoint.replace(/\/+$/, '')
  return `${endpoint}/${repository}/resolve/${encodeURIComponent(revision)}/${encodedPath}`
}

function authorization({ settings }: SourceContext): Readonly<Record<string, string>> {
  const { token } = settings.huggingFace
  return token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` }
}

function refused(place: Place, response: HttpResponse): HelixError {
  const { status } = response
  const what = sourceText(place)
  const hint =
    status === 401 || status === 403
      ? 'the repository does not exist, or its terms must be accepted on its page and HF_TOKEN be set'
      : status === 404
        ? 'there is no such repository, revision or file; mind upper and lower case'
        : 'the host does not give it now'
  const said = response.header('x-error-message')
  return new HelixError(
    'model_source_unavailable',
    `${what}: ${hint} (status ${status}${said === undefined ? '' : `: ${said.slice(0, 200)}`}).`,
  )
}
