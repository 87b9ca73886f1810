import { accessSync, constants, statfsSync } from 'node:fs'
import type { Command } from 'commander'
import type { HealthReport } from '../contracts/monitor.ts'
import { HelixError } from '../core/errors.ts'
import { findLlamaServers } from '../engines/llama-locate.ts'
import { availableMemory, memoryForModels } from '../node/memory.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { engineOptions } from './engine.ts'
import { openModelStore } from './model-store.ts'
import { durationText, sizeText } from './output.ts'

interface Finding {
  readonly subject: string
  readonly healthy: boolean
  readonly finding: string
}

const DISK_WARNING_BYTES = 2e9
/** A gateway that is frozen is a finding, and no reason to wait for ever. */
const READY_TIMEOUT_MS = 5_000

export function doctorCommand(version: string): Command {
  return command('doctor', 'one page: what is healthy, what is not, what to do').action(
    (options: CommonOptions) =>
      runCommand(options, async (context) => {
        const checks = [server, engine, models, memory, disk]
        const [here, ...running] = await Promise.all([
          Promise.all(checks.map((check) => finding(check, context))),
          platform(context),
        ])
        const findings = [...here, ...running.flat()]
        context.output.result({ version, findings }, () => findings.map(line).join('\n'))
        return findings.every(({ healthy }) => healthy) ? 0 : 1
      }),
  )
}

function line({ subject, healthy, finding }: Finding): string {
  return `${healthy ? 'ok  ' : 'FAIL'}  ${subject.padEnd(11)}  ${finding}`
}

async function finding(
  check: (context: CommandContext) => Promise<Finding>,
  context: CommandContext,
): Promise<Finding> {
  try {
    return await check(context)
  } catch (reason) {
    return { subject: check.name, healthy: false, finding: HelixError.from(reason).publicMessage }
  }
}

/** What the monitor of the running server says of every part. Nothing where nothing runs: that was found out already. */
async function platform({ control }: CommandContext): Promise<readonly Finding[]> {
  if (!control.isRunning) return []
  try {
    const { components } = await control.get<HealthReport>('/admin/v1/monitor/health')
    return components.map(({ kind, name, health, reason, remedy }) => ({
      subject: kind,
      healthy: health === 'healthy',
      finding: [reason === undefined ? name : `${name}: ${reason}`, remedy].filter(Boolean).join('. '),
    }))
  } catch (reason) {
    const { code, publicMessage } = HelixError.from(reason)
    return code === 'not_running' ? [] : [{ subject: 'monitor', healthy: false, finding: publicMessage }]
  }
}

async function server({ control }: CommandContext): Promise<Finding> {
  const { url, pid, startedAtMs } = await control.get<{ url: string; pid: number; startedAtMs: number }>(
    '/admin/v1/status',
  )
  const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(READY_TIMEOUT_MS) })
  const { reasons } = (await answer.json()) as { reasons: readonly { message: string }[] }
  const uptime = durationText(Date.now() - startedAtMs)
  const state = answer.ok ? 'ready' : `not ready: ${reasons.map(({ message }) => message).join(' ')}`
  return { subject: 'server', healthy: answer.ok, finding: `${url}, process ${pid}, up ${uptime}, ${state}` }
}

async function engine({ settings, places, log, signal }: CommandContext): Promise<Finding> {
  const found = await findLlamaServers(engineOptions(settings, places, { log, signal, onProgress: () => {} }))
  const working = found.find(({ works }) => works)
  if (working)
    return {
      subject: 'engine',
      healthy: true,
      finding: `${working.serverPath} (${working.version ?? 'unknown version'})`,
    }
  const reasons = found.map(({ serverPath, reason }) => `${serverPath}: ${reason}`).join('; ')
  return {
    subject: 'engine',
    healthy: false,
    finding: `none works here. 'helixflow engines build' builds one. ${reasons}`,
  }
}

async function models({ settings, places, log }: CommandContext): Promise<Finding> {
  const all = await (await openModelStore(settings, places, log)).list()
  const bad = all.filter(({ invalidBecause, quarantine }) => invalidBecause || quarantine)
  const problems = bad.map(
    ({ name, invalidBecause, quarantine }) => `${name}: ${invalidBecause ?? quarantine?.reason}`,
  )
  if (all.length === 0) {
    const remedy = "'helixflow models pull smollm2-135m-instruct' fetches a small one"
    return {
      subject: 'models',
      healthy: settings.config.upstreams.length > 0,
      finding: `none in ${places.models}; ${remedy}`,
    }
  }
  return {
    subject: 'models',
    healthy: bad.length === 0,
    finding: [`${all.length} in ${places.models}`, ...problems].join('; '),
  }
}

async function memory({ settings }: CommandContext): Promise<Finding> {
  const forModels = memoryForModels(settings.config.engines.memoryLimit)
  return {
    subject: 'memory',
    healthy: true,
    finding: `${sizeText(forModels)} for models, ${sizeText(availableMemory())} free now`,
  }
}

async function disk({ places }: CommandContext): Promise<Finding> {
  accessSync(places.home, constants.W_OK)
  const { bavail, bsize } = statfsSync(places.home)
  const freeBytes = bavail * bsize
  const enough = freeBytes >= DISK_WARNING_BYTES
  return { subject: 'disk', healthy: enough, finding: `${sizeText(freeBytes)} free in ${places.home}` }
}
