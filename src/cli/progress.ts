import type { OnProgress, Progress } from '../core/progress.ts'
import { durationText, sizeText } from './output.ts'

const BAR_WIDTH = 24
const REDRAW_MS = 100
const PLAIN_LINE_MS = 5_000

/** A progress bar in a terminal; elsewhere a line now and then. `end` leaves the last state standing. */
export function progressBar(stream: NodeJS.WriteStream = process.stderr): {
  onProgress: OnProgress
  end(): void
} {
  let step = ''
  let startedMs = 0
  let shownMs = 0
  let open = false
  const end = () => {
    if (open && stream.isTTY) stream.write('\n')
    open = false
  }
  const onProgress = (progress: Progress) => {
    const nowMs = performance.now()
    if (progress.step !== step) {
      end()
      step = progress.step
      startedMs = nowMs
      shownMs = 0
    }
    const finished = progress.done === progress.total
    if (!finished && nowMs - shownMs < (stream.isTTY ? REDRAW_MS : PLAIN_LINE_MS)) return
    shownMs = nowMs
    const text = progressText(progress, nowMs - startedMs)
    stream.write(stream.isTTY ? `\r\x1b[2K${text.slice(0, (stream.columns || 80) - 1)}` : `${text}\n`)
    open = true
  }
  return { onProgress, end }
}

/** `fetching model  [=====>      ] 41 %  40.3 MB of 98.4 MB  12s left`. */
export function progressText({ step, done, total, unit }: Progress, elapsedMs: number): string {
  const amount = (value: number) => (unit === 'bytes' ? sizeText(value) : String(value))
  if (total === undefined || total <= 0) return `${step}  ${amount(done)}`
  const share = Math.min(1, done / total)
  const filled = Math.round(share * BAR_WIDTH)
  const bar = `${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}`
  const left = share > 0.02 && share < 1 ? `  ${durationText((elapsedMs / share) * (1 - share))} left` : ''
  return `${step}  [${bar}] ${Math.floor(share * 100)} %  ${amount(done)} of ${amount(total)}${left}`
}
