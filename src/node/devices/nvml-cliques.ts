import type { Nvml } from './nvml.ts'
import type { NvmlDevice } from './nvml-device.ts'

/** nvmlGpuTopologyLevel_t: behind PCIe switches alone, without the processor between them. */
const TOPOLOGY_MULTIPLE = 20
/** nvmlGpuP2PCapsIndex_t and nvmlGpuP2PStatus_t. */
const P2P_NVLINK = 2
const P2P_OK = 0

/**
 * Cards that reach each other by NVLink or behind common PCIe switches, each clique named after its first card; a card
 * that so reaches no other has none. Neighbours of neighbours count as neighbours: boards are built so.
 */
export function cliquesOf(nvml: Nvml, cards: readonly NvmlDevice[]): ReadonlyMap<string, string> {
  const cliques = new Map<string, string>()
  for (const [index, card] of cards.entries()) {
    for (const other of cards.slice(index + 1)) {
      if (!isNear(nvml, card, other)) continue
      const clique = cliques.get(card.id) ?? card.id
      const joined = cliques.get(other.id)
      cliques.set(card.id, clique).set(other.id, clique)
      for (const [id, name] of cliques) if (name === joined) cliques.set(id, clique)
    }
  }
  return cliques
}

function isNear(nvml: Nvml, one: NvmlDevice, other: NvmlDevice): boolean {
  const pair = [one.handle, other.handle] as const
  const answer = Buffer.alloc(4)
  const isLinked =
    nvml.ask(
      'nvmlDeviceGetP2PStatus',
      'uintptr_t one, uintptr_t other, int index, void *status',
      ...[...pair, P2P_NVLINK, answer],
    ) === 'ok' && answer.readUInt32LE() === P2P_OK
  if (isLinked) return true
  return (
    nvml.ask(
      'nvmlDeviceGetTopologyCommonAncestor',
      'uintptr_t one, uintptr_t other, void *level',
      ...[...pair, answer],
    ) === 'ok' && answer.readUInt32LE() <= TOPOLOGY_MULTIPLE
  )
}
