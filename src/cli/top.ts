import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import type { ModelView } from '../contracts/pool.ts'
import { systemClock } from '../system.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { type RealtimeCounts, type Snapshot, topText } from './top-view.ts'

type TopFlags = CommonOptions & { readonly once?: boolean }

const REFRESH_MS = 1_000
const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'
/** To the corner, and nothing below: what is written over does not flicker. */
const HOME = '\x1b[H'
const CLEAR_LINE_END = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

export function topCommand(): Command {
  return command('top', 'watch models, requests, connections and streams of the running server')
    .option('--once', 'show it once and leave')
    .action((options: TopFlags) => runCommand(options, (context) => top(context, options)))
}

async function top(context: CommandContext, { once = false }: TopFlags): Promise<number> {
  if (once) {
    const snapshot = await look(context)
    context.output.result(snapshot, () => topText(snapshot))
    return 0
  }
  const isLive = process.stdout.isTTY === true && !context.json
  const keys = untilKey(context.signal, isLive)
  if (isLive) process.stdout.write(`${HIDE_CURSOR}${HOME}${CLEAR_BELOW}`)
  try {
    while (!keys.signal.aborted) {
      const snapshot = await look(context)
      if (isLive) draw(topText(snapshot))
      else context.output.result(snapshot, () => `${topText(snapshot)}\n`)
      await delay(REFRESH_MS, undefined, { signal: keys.signal }).catch(() => {})
    }
  } finally {
    keys.stop()
    if (isLive) process.stdout.write(SHOW_CURSOR)
  }
  return 0
}

interface Status {
  readonly url: string
  readonly version: string
  readonly startedAtMs: number
  readonly realtime?: RealtimeCounts
}

async function look({ control }: CommandContext): Promise<Snapshot> {
  const [{ url, version, startedAtMs, realtime }, { models }] = await Promise.all([
    control.get<Status>('/admin/v1/status'),
    control.get<{ models: readonly ModelView[] }>('/admin/v1/models'),
  ])
  return {
    atMs: systemClock.now(),
    server: { url, version, startedAtMs },
    requestsInFlight: models.reduce((sum, { inFlight }) => sum + inFlight, 0),
    realtime,
    models,
  }
}

/** As much as the terminal shows. */
function draw(text: string): void {
  // A terminal that does not know its size says 0.
  const columns = process.stdout.columns || 80
  const rows = process.stdout.rows || 24
  const lines = text.split('\n').slice(0, rows - 1)
  const cut = lines.map((line) => `${line.slice(0, columns)}${CLEAR_LINE_END}\n`)
  process.stdout.write(`${HOME}${cut.join('')}${CLEAR_BELOW}`)
}

/** Aborts at q or Ctrl-C, and when nobody reads any more. */
function untilKey(
  interrupt: AbortSignal,
  isLive: boolean,
): { readonly signal: AbortSignal; readonly stop: () => void } {
  const left = new AbortController()
  const { stdin, stdout } = process
  const leave = () => left.abort()
  const onKey = (key: Buffer) => {
    if (['q', 'Q', '\u0003'].includes(key.toString())) leave()
  }
  const takesKeys = isLive && stdin.isTTY === true
  if (takesKeys) stdin.setRawMode(true).on('data', onKey).resume()
  stdout.on('error', leave)
  return {
    signal: AbortSignal.any([interrupt, left.signal]),
    stop: () => {
      stdout.off('error', leave)
      if (takesKeys) stdin.setRawMode(false).off('data', onKey).pause()
    },
  }
}
