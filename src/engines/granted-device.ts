import type { DeviceKind } from '../contracts/node.ts'
import { HelixError } from '../core/errors.ts'
import type { Environment } from './llama-command.ts'

/** A device that an engine may use, and how much of it. */
export interface GrantedDevice {
  /** The card's UUID. Of a machine's own memory, and of a card that has none, any text. */
  readonly id: string
  readonly kind: DeviceKind
  /** Such as `NVIDIA H100 80GB HBM3`. */
  readonly name: string
  readonly bytes: number
  /** Of the whole device. */
  readonly totalBytes: number
  /** What nobody has taken yet, as the device says just before the start. */
  readonly freeBytes: number
}

/**
 * The one kind that the devices have: an engine computes on cards of one maker, or on the processor. None at all is
 * the processor.
 * @throws HelixError `engine_unusable` when they are of several kinds
 */
export function kindOf(devices: readonly Pick<GrantedDevice, 'kind'>[]): DeviceKind {
  const kinds = new Set(devices.map(({ kind }) => kind))
  const [kind = 'cpu'] = kinds
  if (kinds.size <= 1) return kind
  throw new HelixError(
    'engine_unusable',
    `One engine cannot use devices of several kinds (${[...kinds].join(', ')}). Name the devices of one kind in ` +
      'helixflow.yaml: models.perModel.<name>.devices',
  )
}

/**
 * Variables that hide every other card from the engine. By UUID, because numbers change when a card is lost; the
 * order is kept, so that the engine's first device is the first one here. An engine on the processor sees no card:
 * even one that only looked at a card would take half a gigabyte of it.
 */
export function visibleDevices(devices: readonly Pick<GrantedDevice, 'id' | 'kind'>[]): Environment {
  const ids = devices.map(({ id }) => id).join(',')
  switch (kindOf(devices)) {
    case 'cuda':
      return { CUDA_VISIBLE_DEVICES: ids }
    case 'rocm':
      return { ROCR_VISIBLE_DEVICES: ids }
    case 'metal':
      return {}
    case 'cpu':
      return { CUDA_VISIBLE_DEVICES: '', HIP_VISIBLE_DEVICES: '-1' }
  }
}
