import type { OnProgress } from '../../core/progress.ts'
import type { ProxySettings } from '../http-dispatcher.ts'
import type { WholeFile } from '../partial-file.ts'
import type { PipSettings } from './pip-settings.ts'

/**
 * Recognises references written in its own notation. Undefined means that the text is meant for another
 * source.
 * @throws HelixError `invalid_arguments` when the text is meant for this source but is wrong
 */
export type ModelSource = (reference: string) => Origin | undefined

/** One place where one model file can be had. */
export interface Origin {
  /** The place in the notation of `helixflow models pull`, without credentials. */
  readonly source: string
  readonly fileName: string
  /** The same source text means the same bytes for ever. */
  readonly immutable: boolean
  /** SHA-256 of the file as the source tells it, without fetching the file. Absent where it never does. */
  identify?(context: SourceContext): Promise<string | undefined>
  /**
   * Brings the file here, whole and verified.
   * @throws HelixError `model_source_unavailable`, `download_interrupted`, `checksum_mismatch`, `disk_full`;
   *   the signal's reason when it aborts
   */
  fetch(request: FetchRequest): Promise<WholeFile>
}

export interface SourceSettings {
  readonly huggingFace: { readonly endpoint: string; readonly token: string | undefined }
  readonly pip: PipSettings
  readonly proxy: ProxySettings
}

export interface SourceContext {
  readonly settings: SourceSettings
  readonly onProgress: OnProgress
  readonly signal: AbortSignal | undefined
}

export interface FetchRequest extends SourceContext {
  /**
   * The path of the file. What is partial, or needed on the way, lies beside it with this path as the
   * beginning of its name, and is there again in the next call.
   */
  readonly into: string
  readonly sha256: string | undefined
  readonly sizeBytes: number | undefined
}
