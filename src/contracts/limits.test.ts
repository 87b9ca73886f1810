import { expect, test } from 'vitest'
import { effectiveLimits, type LimitRule, slotOf } from './limits.ts'

const party = { organisationId: 'org', projectId: 'proj', keyId: 'key', userId: 'user' }

const rule = (id: string, changes: Partial<LimitRule> = {}): LimitRule => ({
  id,
  on: { kind: 'organisation', id: 'org' },
  each: undefined,
  measure: 'requests',
  model: undefined,
  amount: 1,
  algorithm: 'token-bucket',
  windowMs: 60_000,
  burst: undefined,
  period: undefined,
  shapeMaxWaitMs: 0,
  ...changes,
})

const onProject = { kind: 'project', id: 'proj' } as const
const onKey = { kind: 'key', id: 'key' } as const

const bound = (rules: readonly LimitRule[], who: Parameters<typeof effectiveLimits>[1] = party) =>
  effectiveLimits(rules, who).map(({ ruleId, subject }) => `${ruleId}:${subject.kind}:${subject.id}`)

test('a rule binds its holder, and a default each of those below it by itself', () => {
  const rules = [
    rule('all'),
    rule('projects', { each: 'project' }),
    rule('keys', { each: 'key' }),
    rule('users', { each: 'user' }),
  ]
  expect(bound(rules)).toEqual([
    'all:organisation:org',
    'projects:project:proj',
    'keys:key:key',
    'users:user:user',
  ])
  // A login has no key, a program nobody behind it.
  expect(bound(rules, { ...party, keyId: undefined, userId: undefined })).toEqual([
    'all:organisation:org',
    'projects:project:proj',
  ])
})

test('the closest of those that say the same thing holds, in whatever order they come', () => {
  const defaults = [
    rule('far', { each: 'key' }),
    rule('nearer', { on: onProject, each: 'key' }),
    rule('own', { on: onKey }),
  ]
  for (const rules of [defaults, [...defaults].reverse()]) expect(bound(rules)).toEqual(['own:key:key'])
  expect(bound(defaults.slice(0, 2))).toEqual(['nearer:key:key'])
})

test('another model, window, period, measure or kind of subject is another thing, and binds as well', () => {
  const rules = [
    rule('a'),
    rule('b', { model: 'm' }),
    rule('c', { windowMs: 1_000 }),
    rule('d', { measure: 'tokens' }),
    rule('e', { measure: 'money', windowMs: 0, period: 'day' }),
    rule('f', { measure: 'money', windowMs: 0, period: 'month' }),
    rule('g', { on: onProject }),
    rule('h', { on: onKey }),
  ]
  expect(bound(rules)).toHaveLength(rules.length)
  expect(new Set(rules.map(slotOf)).size).toBe(rules.length)
})

test('how much and how it is counted is not what a rule is about', () => {
  const changed = rule('b', { amount: 9, algorithm: 'fixed-window', burst: 3, shapeMaxWaitMs: 7 })
  expect(slotOf(changed)).toBe(slotOf(rule('a')))
})

test('what lies on somebody else binds nobody here', () => {
  const elsewhere = (['organisation', 'project', 'key', 'user'] as const).map((kind) =>
    rule(kind, { on: { kind, id: 'other' } }),
  )
  expect(bound(elsewhere)).toEqual([])
})

test('the terms of a rule reach whom it binds unchanged', () => {
  const terms = { measure: 'tokens', model: 'm', amount: 7, algorithm: 'sliding-window' } as const
  const rest = { windowMs: 1_000, burst: undefined, period: undefined, shapeMaxWaitMs: 5 }
  expect(effectiveLimits([rule('a', { on: onKey, ...terms, ...rest })], party)).toEqual([
    { ruleId: 'a', subject: onKey, ...terms, ...rest },
  ])
})
