/** How urgent a request is. `priority`: before the tenant's own others. `flex`: after everybody's. */
export type Tier = 'priority' | 'default' | 'flex'

/** Tiers by number, the best first. */
export const TIER_NUMBERS = { priority: 0, default: 1, flex: 2 } as const satisfies Record<Tier, number>

/** Whether the one is served earlier than the other. */
export function isBefore(one: Tier, other: Tier): boolean {
  return TIER_NUMBERS[one] < TIER_NUMBERS[other]
}
