import type { Identity } from '../../contracts/auth.ts'
import { may, type Permission } from '../../contracts/permissions.ts'
import { HelixError } from '../../core/errors.ts'
import type { TopicKind } from '../../streams/topics.ts'

/** What is told of a gateway, by itself, while somebody follows. */
export const FACT_TOPICS = ['models', 'devices', 'usage', 'alerts'] as const
export type FactTopic = (typeof FACT_TOPICS)[number]

export interface TopicRule {
  readonly kind: TopicKind
  /** Undefined: whoever is known. */
  readonly permission: Permission | undefined
  /** `fact`: this gateway tells it. `shared`: at every gateway the same. */
  readonly source: 'fact' | 'presence' | 'shared'
  readonly scope: 'organisation' | 'project'
  /** Whether clients publish it. */
  readonly isCustom: boolean
}

const PRESENCE = '/presence'

const RULES: Readonly<Record<string, TopicRule>> = {
  models: fact('latest', undefined, 'organisation'),
  devices: fact('latest', 'models.read', 'organisation'),
  usage: fact('latest', 'usage.read', 'project'),
  alerts: fact('log', 'models.read', 'organisation'),
  jobs: { kind: 'log', permission: 'inference', source: 'shared', scope: 'project', isCustom: false },
}

/** @throws HelixError `not_found`, `insufficient_permissions` */
export function mayFollow(identity: Identity, topic: string): TopicRule {
  const rule = ruleOf(topic)
  if (!rule) throw new HelixError('not_found', 'There is no such topic.', { param: 'topic' })
  const { permission } = rule
  if (permission === undefined || may(identity.rights, permission, identity.projectId)) return rule
  throw new HelixError(
    'insufficient_permissions',
    `This credential does not have the permission '${permission}'.`,
    { param: 'topic' },
  )
}

/** @throws HelixError as `mayFollow`; `not_found` for a topic that is not published by clients */
export function mayPublish(identity: Identity, topic: string): TopicRule {
  const rule = mayFollow(identity, topic)
  if (rule.isCustom) return rule
  throw new HelixError('not_found', 'Only topics that begin with custom/ are published by clients.', {
    param: 'topic',
  })
}

/** Whose topic of that name is meant. */
export function scopeOf({ organisationId, projectId }: Identity, { scope }: TopicRule): string {
  return scope === 'organisation' ? organisationId : `${organisationId}/${projectId}`
}

/** The topic whose followers a topic of presence counts. */
export function countedTopic(topic: string): string {
  return topic.slice(0, -PRESENCE.length)
}

function ruleOf(topic: string): TopicRule | undefined {
  if (Object.hasOwn(RULES, topic)) return RULES[topic]
  if (!/^custom\/[^/]/.test(topic)) return undefined
  const shared = { permission: 'inference', scope: 'project' } as const
  if (topic.endsWith(PRESENCE) && topic !== `custom${PRESENCE}`)
    return { ...shared, kind: 'latest', source: 'presence', isCustom: false }
  return { ...shared, kind: 'log', source: 'shared', isCustom: true }
}

function fact(kind: TopicKind, permission: Permission | undefined, scope: TopicRule['scope']): TopicRule {
  return { kind, permission, scope, source: 'fact', isCustom: false }
}
