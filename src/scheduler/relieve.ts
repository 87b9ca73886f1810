import type { EvictionPolicy } from './policy.ts'
import type { Instance } from './state.ts'
import { NO_VICTIMS, VictimChoice, type Victims } from './victims.ts'
import type { ClusterView } from './view.ts'

/**
 * The idle instances to unload where other processes took memory that ours were given, least worth first; all idle ones
 * where even they are too few. How young they are and how many their model should have does not count: an engine that
 * finds no memory dies, and takes its requests along.
 */
export function relieve(view: ClusterView, policy: EvictionPolicy): readonly Instance[] {
  const short = view.state.devices.filter(({ id }) => (view.freeBytes.get(id) ?? 0) < 0)
  if (short.length === 0) return []
  const anyAge = { ...policy, residencyMinMs: 0 }
  const choice = new VictimChoice(view, anyAge, (_instance, { busy }) => busy === 0)
  let victims: Victims = NO_VICTIMS
  for (const { id } of short) {
    const missing = choice.missingBytes(id, 0, victims)
    if (missing <= 0) continue
    const candidates = choice.candidatesOn(id, victims)
    victims = choice.together(victims, choice.cover(id, missing, candidates)?.instances ?? candidates)
  }
  const stillShort = (fewer: Victims) =>
    short.map(({ id }) => Math.max(0, choice.missingBytes(id, 0, fewer))).join()
  const achieved = stillShort(victims)
  return choice
    .needed(victims, (fewer) => stillShort(fewer) === achieved)
    .instances.map(({ instance }) => instance)
}
