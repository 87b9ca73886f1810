import { createHash } from 'node:crypto'
import type { Progress } from '../../src/core/progress.ts'
import type { FetchRequest, SourceSettings } from '../../src/engines/model-sources/source.ts'

/** Sources that reach nothing but what the test names: no settings of this machine are read. */
export function sourceSettings(changes: {
  readonly huggingFace?: Partial<SourceSettings['huggingFace']>
  readonly pip?: Readonly<Record<string, string>>
}): SourceSettings {
  return {
    huggingFace: { endpoint: 'http://127.0.0.1:9', token: undefined, ...changes.huggingFace },
    pip: {
      variables: { PIP_INDEX_URL: 'http://127.0.0.1:9/simple', ...changes.pip },
      configPaths: [],
      homeDirectory: '/nonexistent',
    },
    proxy: { httpProxy: undefined, httpsProxy: undefined, noProxy: undefined },
  }
}

export function fetchRequest(
  into: string,
  settings: SourceSettings,
  changes: Partial<FetchRequest> & { readonly steps?: Progress[] } = {},
): FetchRequest {
  const { steps = [], ...rest } = changes
  return {
    settings,
    into,
    sha256: undefined,
    sizeBytes: undefined,
    signal: undefined,
    onProgress: (progress) => steps.push(progress),
    ...rest,
  }
}

export function sha256Of(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
