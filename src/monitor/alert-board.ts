import { setImmediate as immediately } from 'node:timers/promises'
import type { AlertView, Silence } from '../contracts/monitor.ts'
import type { Logger } from '../core/log.ts'
import type { Round } from './alerts/advance.ts'
import { type AlertsState, NO_ALERTS } from './alerts/alert-state.ts'
import { answersOf, judge, type Transition, viewsOf } from './alerts/evaluator.ts'
import type { Notification } from './alerts/notification.ts'
import type { AlertRule } from './alerts/rule.ts'
import type { Answer } from './query/evaluate.ts'
import type { Query } from './query/query.ts'
import type { SampleSource } from './query/samples.ts'
import { queriesOf } from './query/selection.ts'

export interface AlertBoardOptions {
  readonly rules: readonly AlertRule[]
  readonly log: Logger
}

/** The alerts that pend and fire, from round to round. */
export class AlertBoard {
  /** Whatever the rules ask. */
  readonly queries: readonly Query[]
  private current: AlertsState = NO_ALERTS

  constructor(private readonly options: AlertBoardOptions) {
    this.queries = options.rules.flatMap(({ condition }) => queriesOf(condition))
  }

  /** Goes on where a monitor was when it saved this, so that nothing is forgotten and nothing told again. */
  restore(saved: unknown): void {
    // Written by a monitor alone; the row is no one else's.
    this.current = (saved as AlertsState | undefined) ?? NO_ALERTS
  }

  /** All that must be known after a restart. */
  state(): AlertsState {
    return this.current
  }

  /** Judges every rule, with room for requests between. @returns what people are to be told of now */
  async judge(
    source: SampleSource,
    round: Round & { readonly silences: readonly Silence[] },
  ): Promise<readonly Notification[]> {
    const { rules, log } = this.options
    const answers = new Map<string, readonly Answer[]>()
    for (const rule of rules) {
      for (const [id, found] of answersOf([rule], source, round.nowMs)) answers.set(id, found)
      await immediately()
    }
    const { state, transitions, due } = judge(rules, answers, this.current, round)
    this.current = state
    for (const one of transitions) tellOf(one, log)
    return due
  }

  /** The gravest first. */
  views(silences: readonly Silence[], nowMs: number): readonly AlertView[] {
    return viewsOf(this.current, this.options.rules, silences, nowMs)
  }
}

function tellOf({ alert: { name, severity, labels }, from, to }: Transition, log: Logger): void {
  if (to === 'firing') log.warn('alert fires', { alert: name, severity, labels })
  else if (from === 'firing') log.info('alert is over', { alert: name, severity, labels })
}
