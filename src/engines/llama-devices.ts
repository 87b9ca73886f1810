import type { DeviceKind } from '../contracts/node.ts'
import { type GrantedDevice, kindOf } from './granted-device.ts'

/** What llama.cpp calls its devices, before their number among those that it sees. */
const NAMES = { cuda: 'CUDA', rocm: 'ROCm' } as const satisfies Partial<Record<DeviceKind, string>>

/**
 * Where `llama-server` puts the model: the whole of it on the devices that it was given, each with the part that its
 * share is of all, or nothing on any. Named devices that it does not find end it at the start; unnamed, it would
 * compute on the processor instead and say so to nobody.
 */
export function llamaDeviceArguments(
  devices: readonly Pick<GrantedDevice, 'kind' | 'bytes'>[],
): readonly string[] {
  const kind = kindOf(devices)
  if (kind === 'cpu') return ['--device', 'none', '--n-gpu-layers', '0']
  // A Mac has one, which has been called by two names.
  if (kind === 'metal') return ['--n-gpu-layers', 'all', '--split-mode', 'none', '--main-gpu', '0']
  const names = devices.map((_, index) => `${NAMES[kind]}${index}`).join(',')
  const whole = ['--device', names, '--n-gpu-layers', 'all']
  if (devices.length === 1) return [...whole, '--split-mode', 'none', '--main-gpu', '0']
  const parts = devices.map(({ bytes }) => Math.max(1, Math.round(bytes / 2 ** 20))).join(',')
  return [...whole, '--split-mode', 'layer', '--tensor-split', parts]
}
