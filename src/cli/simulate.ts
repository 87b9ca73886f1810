import { writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { type Command, Option } from 'commander'
import { HelixError } from '../core/errors.ts'
import { seededRandom } from '../core/random.ts'
import { policyOf } from '../pool/start.ts'
import { placementStrategies } from '../scheduler/placement/strategies.ts'
import type { Device } from '../scheduler/state.ts'
import { readClusterFile } from '../simulator/cluster-file.ts'
import { devicesFrom, modelOfSize, randomModelBytes } from '../simulator/fleet.ts'
import { goodput } from '../simulator/goodput.ts'
import { plotOf } from '../simulator/plot.ts'

import { replay } from '../simulator/replay.ts'
import { type Report, reportOf, type SloScale } from '../simulator/report.ts'
import { reportRows } from '../simulator/report-text.ts'
import type { ModelProfile, Scenario } from '../simulator/scenario.ts'
import { readTrace } from '../simulator/traces/read-trace.ts'
import type { Trace } from '../simulator/traces/trace.ts'
import { modelsNamed, type Popularity, popularityFrom, workloadOf } from '../simulator/workload.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { table } from './output.ts'

interface SimulateFlags extends CommonOptions {
  readonly strategy?: string
  readonly eviction?: string
  readonly prefetch?: string
  readonly routing: Scenario['gateway']['routing']
  readonly devices: string
  readonly cluster?: string
  readonly models: string
  readonly replicas: string
  readonly popularity?: string
  readonly requests?: string
  readonly speed: string
  readonly seed: string
  readonly patience?: string
  readonly slo: string
  readonly goodput?: boolean
  readonly plot?: string
}

type SeededFlags = Omit<SimulateFlags, 'seed'> & { readonly seed: number }

export function simulateCommand(): Command {
  return command('simulate', 'replay a trace of requests through the scheduler, without engines, in seconds')
    .argument(
      '<trace>',
      'a file or folder of Azure, Mooncake, ServeGen or our own form, or synthetic:rate=2,cv=1,...',
    )
    .option('--strategy <name>', `placement: ${Object.keys(placementStrategies).join(', ')}`)
    .option('--eviction <name>', 'gdsf or lru')
    .addOption(new Option('--prefetch <on|off>', 'load models ahead of requests').choices(['on', 'off']))
    .addOption(
      new Option('--routing <name>', 'which instance').choices(['prefix', 'least-loaded']).default('prefix'),
    )
    .option('--devices <list>', 'such as 4x80GiB', '4x80GiB')
    .option('--cluster <file>', 'nodes, devices and models as YAML, instead of --devices and --models')
    .option('--models <count>', 'models of random sizes from 2 to 32 GiB', '20')
    .option('--replicas <count>', 'instances that one model may have', '1')
    .option(
      '--popularity <rule>',
      'zipf:1.0, uniform, or trace (default: trace where it names models, else zipf:1.0)',
    )
    .option('--requests <count>', 'at most so many; of rates, about so many')
    .option('--speed <factor>', 'so many times faster than recorded', '1')
    .option('--seed <number>', 'for everything that is left to chance', '1')
    .option('--patience <seconds>', 'clients without a token leave after this time')
    .option('--slo <factors>', 'in time: the first token and the others, over an idle engine', '5,2')
    .option('--goodput', 'also look for the highest speed at which 99 % are in time')
    .option('--plot <file>', 'draw it, as SVG')
    .action((trace: string, options: SimulateFlags) =>
      runCommand(options, (context) => simulate(context, trace, options), settingsOf(options)),
    )
}

/** Those of helixflow.yaml that decide, so that one's own settings can be tried. */
function settingsOf({ strategy, eviction, prefetch }: SimulateFlags): Readonly<Record<string, unknown>> {
  return {
    'scheduler.strategy': strategy,
    'scheduler.eviction': eviction,
    'scheduler.prefetch': prefetch === undefined ? undefined : prefetch === 'on',
  }
}

async function simulate(context: CommandContext, path: string, flags: SimulateFlags): Promise<number> {
  const seed = numberOf('seed', flags.seed, 0)
  const requests = flags.requests === undefined ? undefined : numberOf('requests', flags.requests, 1)
  const trace = await readTrace(path, { requests, seed })
  const setting = settingFor(context, trace, { ...flags, seed })
  const scenario = setting.at(numberOf('speed', flags.speed, 1e-6))
  const outcome = replay(scenario)
  const slo = sloFrom(flags.slo)
  const report = reportOf(outcome, scenario, { slo })
  const speed = flags.goodput ? goodputOf(setting.at, slo) : undefined
  if (flags.plot) writeFileSync(flags.plot, plotOf(outcome, scenario, `${basename(path)}, ${setting.title}`))
  const { synthetic } = setting
  const { format } = trace
  context.output.result(
    { trace: { path, format, synthetic }, setting: setting.title, ...report, goodput: speed },
    () => text(report, speed, { path, ...setting }),
  )
  return 0
}

interface Setting {
  readonly title: string
  /** What of the workload is not recorded. */
  readonly synthetic: readonly string[]
  readonly at: (speed: number) => Scenario
}

function settingFor({ settings: { config } }: CommandContext, trace: Trace, flags: SeededFlags): Setting {
  const named = modelsNamed(trace)
  const popularity = flags.popularity
    ? popularityFrom(flags.popularity)
    : named.length > 0
      ? 'trace'
      : { zipf: 1 }
  const cluster = flags.cluster ? readClusterFile(flags.cluster) : undefined
  const devices = cluster?.devices ?? devicesFrom(flags.devices, 'node')
  const models =
    cluster?.models ??
    modelsFor(popularity === 'trace' ? named : undefined, devices, {
      ...flags,
      keepAliveMs: config.models.keepAlive,
    })
  const policy = policyOf(config)
  const { strategy, eviction, prefetch } = config.scheduler
  const names = models.map(({ spec }) => spec.name)
  return {
    title: `${devices.length} devices, ${models.length} models, ${strategy}, ${eviction}, prefetch ${prefetch ? 'on' : 'off'}, seed ${flags.seed}`,
    synthetic: [...trace.synthetic, ...madeUp(popularity, cluster?.models !== undefined)],
    at: (speed) => ({
      ...{ devices, models, policy, calendarStartMs: trace.startedMs ?? 0, seed: flags.seed },
      requests: workloadOf(trace, { models: names, popularity, speed, seed: flags.seed }),
      gateway: {
        routing: flags.routing,
        fairness: config.scheduler.fairness,
        queueMax: config.gateway.queueMax,
        waitMaxMs: config.gateway.queueTimeout,
        patienceMs:
          flags.patience === undefined ? undefined : 1_000 * numberOf('patience', flags.patience, 0),
        demandEveryMs: 1_000,
      },
      costs: { unloadMs: UNLOAD_MS, pageCacheBytes: PAGE_CACHE_BYTES, loadCrashChance: 0, crashesPerHour: 0 },
    }),
  }
}

/** Measured on a card: from SIGKILL to its memory being free. */
const UNLOAD_MS = 160
const PAGE_CACHE_BYTES = 64 * 2 ** 30

function modelsFor(
  named: readonly string[] | undefined,
  devices: readonly Device[],
  flags: SeededFlags & { readonly keepAliveMs: number },
): ModelProfile[] {
  const random = seededRandom(flags.seed)
  const count = numberOf('models', flags.models, 1)
  const names = named ?? Array.from({ length: count }, (_, place) => `model-${place + 1}`)
  const nodes = [...new Set(devices.map(({ nodeId }) => nodeId))]
  const replicasMax = numberOf('replicas', flags.replicas, 1)
  return names.map((name) =>
    modelOfSize({
      ...{ name, nodes, replicasMax, memoryBytes: randomModelBytes(random), slots: 8 },
      keepAliveMs: flags.keepAliveMs,
    }),
  )
}

function madeUp(popularity: Popularity, hasModels: boolean): string[] {
  const sizes = hasModels ? [] : ['sizes of models, and what they cost to load and to run']
  if (popularity === 'trace') return sizes
  return [
    ...sizes,
    `which request asks for which model (${popularity.zipf === 0 ? 'uniform' : `Zipf ${popularity.zipf}`})`,
  ]
}

function goodputOf(at: (speed: number) => Scenario, slo: SloScale): number {
  const attainmentAt = (speed: number) => {
    const scenario = at(speed)
    return reportOf(replay(scenario), scenario, { slo }).slo.attainment
  }
  return goodput(attainmentAt, { lowest: 1 / 64, highest: 64, halvings: 8 })
}

function sloFrom(text: string): SloScale {
  const [firstToken = '', tokens = ''] = text.split(',')
  return { firstToken: numberOf('slo', firstToken, 1), tokens: numberOf('slo', tokens, 1) }
}

function numberOf(name: string, text: string, least: number): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value) && value >= least) return value
  throw new HelixError('invalid_arguments', `--${name} '${text}' is not a number of at least ${least}.`)
}

function text(
  report: Report,
  speed: number | undefined,
  setting: Setting & { readonly path: string },
): string {
  const note = setting.synthetic.length > 0 ? [`synthetic: ${setting.synthetic.join('; ')}`] : []
  return [
    setting.path,
    setting.title,
    ...note,
    '',
    table(['', ''], reportRows(report, speed)).trimStart(),
  ].join('\n')
}
