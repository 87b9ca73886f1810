import { describe, expect, test } from 'vitest'
import type { Silence } from '../../contracts/monitor.ts'
import type { Answer } from '../query/evaluate.ts'
import { type AlertsState, NO_ALERTS } from './alert-state.ts'
import { judge, viewsOf } from './evaluator.ts'
import type { Notification } from './notification.ts'
import type { AlertRule } from './rule.ts'
import { ruleId } from './rule.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

function rule(name: string, more: Partial<AlertRule> = {}): AlertRule {
  return {
    name,
    severity: 'critical',
    condition: {
      kind: 'below',
      query: { kind: 'gauge', combine: 'max', metric: 'helixflow_node_up', by: ['node'] },
      bound: 1,
    },
    forMs: MINUTE,
    summary: '{node} says {value}.',
    meaning: 'It is bad.',
    action: 'Make it good.',
    ...more,
  }
}

/** Rounds every ten seconds, with what holds set from outside. */
class Rounds {
  state: AlertsState = NO_ALERTS
  silences: Silence[] = []
  readingSinceMs = -60 * MINUTE
  nowMs = 0
  readonly told: Notification[] = []
  readonly changes: string[] = []
  private readonly answers = new Map<string, readonly Answer[]>()

  constructor(private readonly rules: readonly AlertRule[]) {}

  holds(one: AlertRule, ...nodes: readonly string[]): void {
    this.answers.set(
      ruleId(one),
      nodes.map((node) => ({ labels: { node }, value: 0 })),
    )
  }

  run(forMs: number): void {
    for (const endMs = this.nowMs + forMs; this.nowMs < endMs; this.nowMs += 10 * SECOND) {
      const { nowMs, readingSinceMs, silences } = this
      const before = JSON.parse(JSON.stringify(this.state)) as AlertsState
      const { state, due, transitions } = judge(this.rules, this.answers, before, {
        nowMs,
        readingSinceMs,
        silences,
      })
      this.state = state
      this.told.push(...due)
      for (const { alert, from, to } of transitions)
        this.changes.push(`${alert.name}/${alert.labels['node']} ${from} ${to} ${nowMs / SECOND}`)
    }
  }

  silence(matchers: Record<string, string>, untilMs = Number.MAX_SAFE_INTEGER): void {
    this.silences = [{ id: 's1', matchers, untilMs, reason: 'work', by: 'me', createdAtMs: 0 }]
  }

  get news(): string[] {
    return this.told
      .filter(({ reminder }) => !reminder)
      .map(({ group, status, alerts, atMs }) => {
        const nodes = alerts.map(({ labels, status: one }) => `${one === status ? '' : '-'}${labels['node']}`)
        return `${group.alert} ${status} ${nodes.join()} ${atMs / SECOND}`
      })
  }
}

const down = rule('Down')

describe('an alert', () => {
  test('pends, fires once its condition has held long enough, and is resolved', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(5 * MINUTE)
    rounds.holds(down)
    rounds.run(5 * MINUTE)
    expect(rounds.changes).toEqual([
      'Down/a undefined pending 0',
      'Down/a pending firing 60',
      'Down/a firing resolved 410',
    ])
  })

  test('that does not hold long enough tells nobody', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(50 * SECOND)
    rounds.holds(down)
    rounds.run(MINUTE)
    expect(rounds.changes).toEqual(['Down/a undefined pending 0', 'Down/a pending undefined 50'])
    expect(rounds.told).toEqual([])
  })

  test('that comes and goes is one trouble', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(2 * MINUTE)
    for (let time = 0; time < 20; time++) {
      rounds.holds(down, ...(time % 2 ? ['a'] : []))
      rounds.run(MINUTE)
    }
    expect(rounds.news).toEqual(['Down firing a 80'])
  })

  test('is shown when it is resolved, for an hour', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(2 * MINUTE)
    rounds.holds(down)
    rounds.run(10 * MINUTE)
    expect(viewsOf(rounds.state, [down], [], rounds.nowMs)).toMatchObject([
      { alert: 'Down', state: 'resolved', value: undefined, runbook: 'runbooks/Down.md' },
    ])
    rounds.run(60 * MINUTE)
    expect(rounds.state).toEqual(NO_ALERTS)
  })

  test('outlives a start after which its window has yet to be filled', () => {
    const query = {
      kind: 'increase',
      metric: 'helixflow_redis_reconnects_total',
      windowMs: 10 * MINUTE,
    } as const
    const growing = rule('Growing', { condition: { kind: 'above', query, bound: 0 } })
    const rounds = new Rounds([growing])
    rounds.holds(growing, 'a')
    rounds.run(5 * MINUTE)
    rounds.readingSinceMs = rounds.nowMs
    rounds.holds(growing)
    rounds.run(9 * MINUTE)
    expect(rounds.changes).toHaveLength(2)
    rounds.run(2 * MINUTE)
    expect(rounds.changes.at(-1)).toBe('Growing/a firing resolved 900')
  })
})

describe('what is told', () => {
  test('waits a moment, so that what breaks together is told together', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(10 * SECOND)
    rounds.holds(down, 'a', 'b')
    rounds.run(2 * MINUTE)
    expect(rounds.news).toEqual(['Down firing a,b 80'])
  })

  test('comes again when something is added or resolved, and at once at the end', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(90 * SECOND)
    rounds.holds(down, 'a', 'b')
    rounds.run(5 * MINUTE)
    rounds.holds(down, 'b')
    rounds.run(5 * MINUTE)
    rounds.holds(down)
    rounds.run(5 * MINUTE)
    expect(rounds.news).toEqual([
      'Down firing a 80',
      'Down firing a,b 200',
      'Down firing b,-a 500',
      'Down resolved b 800',
    ])
  })

  test('is repeated as a reminder while nothing changes', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(20 * MINUTE)
    expect(rounds.told.map(({ atMs, reminder }) => [atMs / SECOND, reminder])).toEqual([
      [80, false],
      [380, true],
      [680, true],
      [980, true],
    ])
  })

  test('says what is so, with labels and figures, and has an id of its own', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(20 * MINUTE)
    expect(rounds.told[0]?.alerts).toEqual([
      {
        ...{ alert: 'Down', severity: 'critical', status: 'firing', labels: { node: 'a' }, value: 0 },
        ...{ summary: 'a says 0.', meaning: 'It is bad.', action: 'Make it good.' },
        ...{ runbook: 'runbooks/Down.md', startedAtMs: 0, endedAtMs: undefined },
      },
    ])
    expect(new Set(rounds.told.map(({ id }) => id)).size).toBe(4)
  })
})

describe('a silence', () => {
  test('keeps what it matches from being told, until it ends', () => {
    const rounds = new Rounds([down])
    rounds.silence({ alert: 'Down', node: 'a' }, 5 * MINUTE)
    rounds.holds(down, 'a', 'b')
    rounds.run(10 * MINUTE)
    expect(rounds.news).toEqual(['Down firing b 80', 'Down firing a,b 300'])
  })

  test('is quiet about the end too', () => {
    const rounds = new Rounds([down])
    rounds.holds(down, 'a')
    rounds.run(2 * MINUTE)
    rounds.silence({ node: 'a' })
    rounds.run(MINUTE)
    expect(viewsOf(rounds.state, [down], rounds.silences, rounds.nowMs)).toMatchObject([{ silencedBy: 's1' }])
    rounds.holds(down)
    rounds.run(10 * MINUTE)
    expect(rounds.news).toEqual(['Down firing a 80'])
  })

  test.each([
    [{ alert: 'Other' }],
    [{ alert: 'Down', node: 'b' }],
    [{ node: 'a', zone: 'x' }],
    [{ severity: 'warning' }],
  ])('of others does not: %o', (matchers) => {
    const rounds = new Rounds([down])
    rounds.silence(matchers as unknown as Record<string, string>)
    rounds.holds(down, 'a')
    rounds.run(2 * MINUTE)
    expect(rounds.news).toHaveLength(1)
  })
})

describe('an alert that explains another', () => {
  const cause = rule('Cause', { forMs: 0, explains: [{ alerts: ['Effect'], equal: ['node'] }] })
  const effect = rule('Effect', { forMs: 0 })

  test('is told alone, for the labels that both have', () => {
    const rounds = new Rounds([cause, effect])
    rounds.holds(cause, 'a')
    rounds.holds(effect, 'a', 'b')
    rounds.run(MINUTE)
    expect(rounds.news).toEqual(['Cause firing a 20', 'Effect firing b 20'])
    expect(viewsOf(rounds.state, [cause, effect], [], 0)).toMatchObject([
      { alert: 'Cause' },
      { alert: 'Effect', labels: { node: 'a' }, inhibitedBy: 'Cause' },
      { alert: 'Effect', labels: { node: 'b' } },
    ])
  })

  test('leaves what was told of before to be told to its end', () => {
    const rounds = new Rounds([cause, effect])
    rounds.holds(effect, 'a')
    rounds.run(MINUTE)
    rounds.holds(cause, 'a')
    rounds.run(MINUTE)
    rounds.holds(effect)
    rounds.run(5 * MINUTE)
    expect(rounds.news).toEqual(['Effect firing a 20', 'Cause firing a 80', 'Effect resolved a 230'])
  })

  test('may be itself with a greater severity', () => {
    const warning = rule('Down', { severity: 'warning' })
    const rounds = new Rounds([down, warning])
    rounds.holds(down, 'a')
    rounds.holds(warning, 'a', 'b')
    rounds.run(2 * MINUTE)
    expect(rounds.told.map(({ group, alerts }) => [group.severity, alerts[0]?.labels['node']])).toEqual([
      ['critical', 'a'],
      ['warning', 'b'],
    ])
  })
})
