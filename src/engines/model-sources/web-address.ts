import { posix } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import { downloadFile } from '../download.ts'
import { withDispatcher } from '../http-dispatcher.ts'
import { publicUrl } from '../http-request.ts'
import type { ModelSource } from './source.ts'

/** `https://host/path/file.gguf`, with user and password where the host asks for them. */
export const webAddress: ModelSource = (reference) => {
  if (!/^https?:\/\//i.test(reference)) return undefined
  if (!URL.canParse(reference)) {
    throw new HelixError(
      'invalid_arguments',
      'This is not a complete web address. Write https://host/path/file.gguf.',
    )
  }
  const source = publicUrl(reference)
  return {
    source,
    fileName: posix.basename(new URL(source).pathname),
    // What lies behind an address may change, and the query, which is not kept, may be part of the name.
    immutable: false,
    fetch: ({ settings, ...request }) =>
      withDispatcher(settings, (dispatcher) => downloadFile({ ...request, url: reference, dispatcher })),
  }
}
