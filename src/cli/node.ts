import { rmSync } from 'node:fs'
import type { Command } from 'commander'
import { makePlaces } from '../config/places.ts'
import { HelixError } from '../core/errors.ts'
import { Lifecycle } from '../core/lifecycle.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { engineFinders } from './engine.ts'
import { progressBar } from './progress.ts'
import { stopSignal } from './stop-signal.ts'

type NodeFlags = CommonOptions & { readonly join?: string; readonly id?: string }

export function nodeCommand(version: string): Command {
  return command('node', 'run the models of this machine for a pool on another one')
    .option('--join <urls>', 'where the pool is: https://pool:9444, or several, with commas between')
    .option('--id <name>', 'what this node is called (default: the name of the machine)')
    .action((options: NodeFlags) => {
      const flags = { 'rpc.poolUrls': options.join?.split(','), 'rpc.nodeId': options.id }
      return runCommand(options, (context) => serve(context, version), flags)
    })
}

async function serve(context: CommandContext, version: string): Promise<number> {
  const { settings, places, log, output } = context
  const { rpc } = settings.config
  if (rpc.poolUrls.length === 0) {
    throw new HelixError(
      'invalid_arguments',
      'Say where the pool is: helixflow node --join https://pool:9444',
    )
  }
  // Loaded here, so that no other command waits for it.
  const [{ startNodeService }, { tlsFiles }] = await Promise.all([
    import('./node-service.ts'),
    import('./auth-service.ts'),
  ])
  const tls = tlsFiles(settings)
  makePlaces(places)
  const stopping = stopSignal()
  const progress = progressBar()
  const lifecycle = new Lifecycle(log)
  lifecycle.add('sockets', async () => rmSync(places.runtime, { recursive: true, force: true }))
  const work = { log, onProgress: progress.onProgress, signal: stopping.signal }
  const finders = engineFinders(settings, places, work)
  try {
    const { nodeId, url, metricsUrl, joined } = await startNodeService({
      settings,
      places,
      ...finders,
      version,
      tls,
      log,
      lifecycle,
    })
    await Promise.race([joined, stopping.asked])
    if (!stopping.signal.aborted)
      output.result({ node: nodeId, url, metricsUrl }, () => `Node ${nodeId} is in the pool.`)
    await stopping.asked
  } finally {
    await lifecycle.stop()
  }
  return 0
}
