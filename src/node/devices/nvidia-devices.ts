import type { DeviceReport } from '../../contracts/node.ts'
import { isOver, SteadyBytes } from './hysteresis.ts'
import type { NvidiaReading } from './nvml-device.ts'
import type { OwnUse } from './own-use.ts'

/** A card that slowed itself down is given more again only when it is this much cooler. */
const COOLED_BY_CELSIUS = 8
const SLOWDOWN_CELSIUS = 90
/** One that slowed itself down for another reason, such as want of power, after so many readings without. */
const CALM_READINGS = 5
/** Another's process that comes and goes within two readings costs nobody a place. */
const FOREIGN_READINGS = 2
const FOREIGN_STEP_BYTES = 16 * 2 ** 20

/** What readings of the driver mean for the pool. A card that was there once stays in the list, lost if need be. */
export class NvidiaDevices {
  private readonly known = new Map<string, KnownCard>()

  /** `readings` undefined: the driver does not answer. */
  next(readings: readonly NvidiaReading[] | undefined, own: OwnUse): readonly DeviceReport[] {
    for (const reading of readings ?? []) {
      if (reading.lostBecause !== undefined || reading.totalBytes === undefined) continue
      const card = this.known.get(reading.id) ?? new KnownCard()
      card.see(reading, reading.totalBytes, own)
      this.known.set(reading.id, card)
    }
    return [...this.known].flatMap(([id, card]) => {
      const reading = readings?.find((one) => one.id === id)
      if (readings && reading?.lostBecause === undefined && reading) return card.report ?? []
      const silent = readings ? 'the driver no longer lists it' : 'the driver does not answer'
      return card.report ? lost(card.report, reading?.lostBecause ?? silent) : []
    })
  }
}

class KnownCard {
  report: DeviceReport | undefined
  private readonly foreign = new SteadyBytes(FOREIGN_READINGS, FOREIGN_STEP_BYTES)
  private isWarm = false
  private sinceSlowed = CALM_READINGS

  see(reading: NvidiaReading, totalBytes: number, own: OwnUse): void {
    const slowdown = reading.slowdownCelsius ?? SLOWDOWN_CELSIUS
    const { temperatureCelsius } = reading
    this.isWarm = isOver(this.isWarm, temperatureCelsius, {
      enter: slowdown,
      leave: slowdown - COOLED_BY_CELSIUS,
    })
    this.sinceSlowed = reading.isSlowed ? 0 : this.sinceSlowed + 1
    const isHot = this.isWarm || this.sinceSlowed < CALM_READINGS
    this.report = {
      ...{ id: reading.id, kind: 'cuda', name: reading.name, totalBytes },
      ...{ foreignBytes: this.foreignBytes(reading, own), usedBytes: reading.usedBytes },
      ...{ health: isHot ? 'hot' : 'ok', reason: isHot ? heat(reading, this.isWarm) : undefined },
      ...{ clique: reading.clique, utilization: reading.utilization },
      ...{ temperatureCelsius, powerWatts: reading.powerWatts },
    }
  }

  private foreignBytes(reading: NvidiaReading, own: OwnUse): number {
    const { usedBytes } = reading
    if (usedBytes === undefined) return 0
    const ownBytes = own.on(reading.id, reading.processes)
    return this.foreign.next(Math.max(0, usedBytes - ownBytes))
  }
}

function heat({ temperatureCelsius }: NvidiaReading, isWarm: boolean): string {
  const degrees = temperatureCelsius === undefined ? '' : `; ${temperatureCelsius} degrees Celsius`
  return isWarm ? `too warm${degrees}` : `the card slows itself down${degrees}`
}

function lost(report: DeviceReport, reason: string): DeviceReport {
  const nothing = { usedBytes: undefined, utilization: undefined } as const
  return {
    ...report,
    ...nothing,
    health: 'lost',
    reason,
    temperatureCelsius: undefined,
    powerWatts: undefined,
  }
}
