import type { Command } from 'commander'
import { callOperation } from '../contracts/administration/call.ts'
import { DEFAULT_ORGANISATION } from '../contracts/auth.ts'
import { HelixError } from '../core/errors.ts'
import type { OnProgress } from '../core/progress.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { engineFinders } from './engine.ts'
import { firstToken } from './first-token.ts'
import type { Platform } from './platform.ts'
import { progressBar } from './progress.ts'
import { stopSignal } from './stop-signal.ts'
import { type FirstModel, welcome } from './welcome.ts'

type UpFlags = CommonOptions & { readonly host?: string; readonly port?: string; readonly model?: string }

export function upCommand(version: string): Command {
  return command('up', 'run everything on this machine')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('--port <number>', 'port to listen on (default: 8443)')
    .option('--model <name>', 'model to fetch and load at the start')
    .action((options: UpFlags) => {
      const flags = {
        'gateway.host': options.host,
        'gateway.port': options.port === undefined ? undefined : Number(options.port),
        'models.default': options.model,
      }
      return runCommand(options, (context) => serveAll(context, version), flags)
    })
}

/** Whatever of the platform is not elsewhere by the settings. */
export async function serveAll(context: CommandContext, version: string): Promise<number> {
  const { settings, places, log, accessLog } = context
  const stopping = stopSignal()
  const progress = progressBar()
  const work: LongWork = { onProgress: progress.onProgress, signal: stopping.signal }
  // Half a second of loading, which the other commands need not wait for.
  const { startPlatform } = await import('./platform.ts')
  const platform = await startPlatform({
    settings,
    log,
    accessLog,
    version,
    ...engineFinders(settings, places, { log, ...work }),
  })
  try {
    const ready = bringUp(context, platform, work).finally(() => progress.end())
    await Promise.race([ready, stopping.asked])
    if (!stopping.signal.aborted) await announce(context, platform, await ready)
    await stopping.asked
  } finally {
    log.info('stopping')
    await platform.stop()
  }
  return 0
}

interface LongWork {
  readonly onProgress: OnProgress
  readonly signal: AbortSignal
}

async function bringUp(context: CommandContext, platform: Platform, work: LongWork): Promise<FirstModel> {
  const name = context.settings.config.models.default
  const { store, pool } = platform
  if (store === undefined) return { kind: 'elsewhere' }
  if (name === null) return { kind: 'none', reason: undefined }
  try {
    const present = (await store.list()).some((model) => model.name === name)
    if (!present) await store.pull(name, work)
    await pool.acquire(name, work.signal)
    return { kind: 'ready', model: name, firstTokenMs: await firstToken(pool, name, work.signal) }
  } catch (reason) {
    const error = HelixError.from(reason)
    if (!work.signal.aborted) {
      context.log.error('no model to serve', { model: name, code: error.code, reason: error.message })
    }
    return { kind: 'none', reason: error }
  }
}

async function announce(context: CommandContext, platform: Platform, first: FirstModel): Promise<void> {
  const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const
  const { data: keys } = await callOperation(platform.auth, operator, 'keys.list', { limit: 1 })
  const key =
    keys.length === 0
      ? await callOperation(platform.auth, operator, 'keys.create', { name: 'first key' })
      : undefined
  const facts = {
    url: `${platform.gateway.url}/v1`,
    apiKey: key?.plaintext,
    first,
    home: platform.places.home,
  }
  const model = first.kind === 'ready' ? first.model : undefined
  const firstTokenMs = first.kind === 'ready' ? first.firstTokenMs : undefined
  const { metricsUrl } = platform
  const ready = { url: facts.url, apiKey: facts.apiKey, model, firstTokenMs, metricsUrl }
  context.output.result(ready, () => welcome(facts))
}
