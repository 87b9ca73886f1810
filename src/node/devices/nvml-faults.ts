import type { Nvml } from './nvml.ts'
import type { NvmlDevice } from './nvml-device.ts'

/** nvmlEventTypeXidCriticalError. */
const XID_EVENTS = 0x8n
/** struct {void *device; u64 eventType, eventData; u32 gpuInstanceId, computeInstanceId}. */
const EVENT_BYTES = 32
const EVENTS_PER_READING_MAX = 64

/**
 * Errors after which a card does no work until it is reset or has found itself again, by NVIDIA's catalogue of XIDs. The
 * many others are of one program, such as an address that it should not have read, and end that program alone.
 */
const OF_THE_CARD: ReadonlyMap<number, string> = new Map([
  [48, 'memory error that could not be corrected'],
  [62, 'its microcontroller halted'],
  [64, 'a damaged row of memory could not be replaced'],
  [74, 'error of its links'],
  [79, 'it has fallen off the bus'],
  [95, 'memory error that could not be contained'],
  [119, 'its system processor does not answer'],
  [120, 'its system processor failed'],
  [140, 'memory error that was not recovered from'],
])

/** What the driver reports of the cards by itself, asked for without waiting. */
export class NvmlFaults {
  private readonly set: bigint | undefined

  constructor(
    private readonly nvml: Nvml,
    private readonly cards: readonly NvmlDevice[],
  ) {
    const set = Buffer.alloc(8)
    if (nvml.ask('nvmlEventSetCreate', 'void *set', set) !== 'ok') return
    this.set = set.readBigUInt64LE()
    for (const { handle } of cards) {
      const parameters = 'uintptr_t device, uint64_t types, uintptr_t set'
      nvml.ask('nvmlDeviceRegisterEvents', parameters, handle, XID_EVENTS, this.set)
    }
  }

  /** Has each card know what was reported of it since the last time. */
  next(): void {
    if (this.set === undefined) return
    const event = Buffer.alloc(EVENT_BYTES)
    const parameters = 'uintptr_t set, void *event, uint32_t timeout'
    for (let count = 0; count < EVENTS_PER_READING_MAX; count++) {
      if (this.nvml.ask('nvmlEventSetWait_v2', parameters, this.set, event, 0) !== 'ok') return
      const xid = Number(event.readBigUInt64LE(16))
      const what = OF_THE_CARD.get(xid)
      const handle = event.readBigUInt64LE()
      if (what) this.cards.find((card) => card.handle === handle)?.fail(`XID ${xid}: ${what}`)
    }
  }
}
