import type { ComponentHealth, ComponentKind, Health, HealthReport } from '../contracts/monitor.ts'
import { type Ask, type Finding, failed, type HealthCheck } from './health-check.ts'
import { MODEL_CHECKS } from './model-checks.ts'
import { SERVICE_CHECKS } from './service-checks.ts'
import { STORAGE_CHECKS } from './storage-checks.ts'

/** What there is to judge. */
export interface HealthFacts {
  /** Of each process that is read, whether it could be. */
  readonly targets: readonly {
    readonly instance: string
    readonly role: string
    readonly problem?: string | undefined
  }[]
  /** Why the database did not take what the monitor asked of it last; undefined where it did, or was not asked. */
  readonly databaseProblem: string | undefined
  readonly ask: Ask
  readonly nowMs: number
}

/** Everything that is looked at. */
export const HEALTH_CHECKS: readonly HealthCheck[] = [...SERVICE_CHECKS, ...MODEL_CHECKS, ...STORAGE_CHECKS]

/**
 * One verdict of the whole. `failed` where requests fail: the database is away, or of a role, of the nodes or of the
 * devices none works. Whatever else is not well makes it `degraded`, for the rest goes on without. What there is
 * nothing of, such as models on a machine that has just started, is no fault.
 */
export function judgeHealth(facts: HealthFacts): HealthReport {
  const components = new Map<string, ComponentHealth>()
  const add = (kind: ComponentKind, name: string, finding: Finding | undefined) => {
    const key = `${kind}\n${name}`
    const known = components.get(key)
    const health = finding?.health ?? 'healthy'
    if (known && GRAVITY[known.health] >= GRAVITY[health]) return
    components.set(key, { kind, name, ...finding, health })
  }
  for (const { role, instance, problem } of facts.targets)
    add('service', `${role} ${instance}`, problem === undefined ? undefined : silent(problem))
  if (facts.databaseProblem !== undefined) add('database', 'primary', databaseAway(facts.databaseProblem))
  for (const { kind, query, name, judge } of HEALTH_CHECKS) {
    for (const { value, labels } of facts.ask(query)) add(kind, name(labels), judge(value, labels, facts.ask))
  }
  const all = [...components.values()].sort(byGravity)
  return {
    verdict: verdictOf(all),
    reasons: all.filter(({ health }) => health !== 'healthy').map(reasonOf),
    components: all,
    atMs: facts.nowMs,
  }
}

const GRAVITY: Readonly<Record<Health, number>> = { healthy: 0, unknown: 1, degraded: 2, failed: 3 }

/** Of these, one that works serves all requests; without any, none is served. */
const REDUNDANT: readonly ComponentKind[] = ['service', 'node', 'device']

function verdictOf(components: readonly ComponentHealth[]): HealthReport['verdict'] {
  if (components.every(({ health }) => health === 'healthy')) return 'healthy'
  const isFailed = ({ health }: ComponentHealth) => health === 'failed'
  if (components.some((one) => one.kind === 'database' && isFailed(one))) return 'failed'
  const groups = new Map<string, ComponentHealth[]>()
  for (const one of components) {
    if (!REDUNDANT.includes(one.kind)) continue
    const key = one.kind === 'service' ? `service ${one.name.split(' ', 1)[0]}` : one.kind
    groups.set(key, [...(groups.get(key) ?? []), one])
  }
  // The monitor itself serves no requests.
  groups.delete('service monitor')
  // One that is everything serves them without the others.
  if (groups.get('service all')?.some((one) => !isFailed(one)))
    for (const key of groups.keys()) if (key.startsWith('service ')) groups.delete(key)
  return [...groups.values()].some((group) => group.every(isFailed)) ? 'failed' : 'degraded'
}

function byGravity(one: ComponentHealth, other: ComponentHealth): number {
  return GRAVITY[other.health] - GRAVITY[one.health] || one.kind.localeCompare(other.kind)
}

function reasonOf({ kind, name, reason }: ComponentHealth): string {
  return `${kind} ${name}: ${reason ?? 'not well'}`
}

function silent(problem: string): Finding {
  return failed(
    `its metrics cannot be read: ${problem}`,
    'Look whether it runs, and whether monitor.targets names its address. Requests may be served all the same.',
  )
}

function databaseAway(problem: string): Finding {
  return failed(
    problem,
    'Look whether PostgreSQL runs and has room on its disk. Who is known is served meanwhile.',
  )
}
