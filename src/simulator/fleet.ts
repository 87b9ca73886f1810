import { HelixError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import { type Device, laidOutSpec } from '../scheduler/state.ts'
import type { ModelProfile } from './scenario.ts'
import type { StepModel } from './step-model.ts'

const GIB = 2 ** 30

/** What one replays on when no cluster is described: `4x80GiB`, or `2x80GiB,2x24GiB`; all of one node. */
export function devicesFrom(text: string, nodeId: string): Device[] {
  const groups = text.split(',').map((part) => {
    const match = /^(?:(\d{1,4})x)?(\d{1,6}(?:\.\d+)?)GiB$/.exec(part.trim())
    const count = Number(match?.[1] ?? 1)
    if (!match || count < 1) {
      throw new HelixError('invalid_arguments', `'${part}' are no devices; write for example 4x80GiB.`)
    }
    return Array.from({ length: count }, () => Math.round(Number(match[2]) * GIB))
  })
  // In one layout: see `laidOut`.
  return groups.flat().map((totalBytes, place) => ({
    id: `${nodeId}/gpu-${place}`,
    nodeId,
    kind: 'cuda',
    totalBytes,
    foreignBytes: 0,
    health: 'ok',
    clique: nodeId,
    group: undefined,
  }))
}

export interface ModelWishes {
  readonly name: string
  readonly memoryBytes: number
  readonly nodes: readonly string[]
  readonly keepAliveMs: number
  readonly replicasMax: number
  readonly slots: number
}

/**
 * A model of which nothing but its size is known. Loading costs 1.5 s and 0.5 s per GiB from disk. Steps and the load
 * from the page cache are those of llama-server on one H100, measured with models of 1 and 7 GiB.
 */
export function modelOfSize(wishes: ModelWishes): ModelProfile {
  const { memoryBytes, ...own } = wishes
  // The rest is room for contexts and for computing.
  const fileBytes = Math.round(0.8 * memoryBytes)
  const sizeGiB = memoryBytes / GIB
  const spec = laidOutSpec({
    ...own,
    ...{ memoryBytes, perDeviceBytes: Math.round(0.05 * memoryBytes), splitMax: 1, onlyOn: undefined },
    ...{ group: undefined, pinned: false, priority: 0, replicasMin: 0 },
    ...{ loadMs: 1_500 + 500 * sizeGiB, cachedLoadMs: 600 + 130 * sizeGiB },
  })
  return { spec, fileBytes, steps: stepsOfSize(fileBytes), prefixBlocksMax: PREFIX_BLOCKS }
}

/** Contexts of an instance together, in blocks of 512 tokens: 64 thousand tokens. */
const PREFIX_BLOCKS = 128

function stepsOfSize(fileBytes: number): StepModel {
  const gigabytes = fileBytes / 1e9
  return {
    fixedMs: 1.3 + 0.43 * gigabytes,
    perSequenceMs: 0.11 + 0.03 * gigabytes,
    perPromptMs: 0,
    perPromptTokenMs: 0.014 * gigabytes,
    stepTokensMax: 2_048,
  }
}

/** Sizes from 2 to 32 GiB, each doubling as frequent as the other. */
export function randomModelBytes(random: Random): number {
  return Math.round(2 * 16 ** random.uniform() * GIB)
}
