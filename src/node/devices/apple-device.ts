import type { DeviceReport } from '../../contracts/node.ts'

/** Metal's recommendedMaxWorkingSetSize of machines with more than 36 GB; what it is of smaller ones is less by little. */
const SHARE_FOR_METAL = 0.75

/** The machine as this program finds it. */
export interface AppleMachine {
  readonly platform: string
  readonly architecture: string
  readonly memoryBytes: number
}

/**
 * The GPU of an Apple machine, whose memory is the machine's own: three quarters of it, or what the operator gives to
 * models if that is less. What the GPU is given, the CPU as a device has no more. Load and heat are told to nobody but root.
 */
export function appleDevice(
  nodeId: string,
  { platform, architecture, memoryBytes }: AppleMachine,
  limitBytes: number | undefined,
): DeviceReport | undefined {
  if (platform !== 'darwin' || architecture !== 'arm64') return undefined
  const totalBytes = Math.min(limitBytes ?? Infinity, Math.floor(SHARE_FOR_METAL * memoryBytes))
  return {
    ...{ id: `${nodeId}/metal`, kind: 'metal', name: 'Apple GPU', totalBytes, foreignBytes: 0 },
    ...{ usedBytes: undefined, health: 'ok', reason: undefined, clique: undefined },
    ...{ utilization: undefined, temperatureCelsius: undefined, powerWatts: undefined },
  }
}
