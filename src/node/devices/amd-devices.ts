import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DeviceReport } from '../../contracts/node.ts'
import { isOver, SteadyBytes } from './hysteresis.ts'

/** Bytes of a card that our engines hold, by the card's id and its address on the bus. */
export type OwnVram = (deviceId: string, pciAddress: string | undefined) => number

const FOREIGN_READINGS = 2
const FOREIGN_STEP_BYTES = 16 * 2 ** 20
const HOT_CELSIUS = 100
const COOLED_BY_CELSIUS = 8

/**
 * AMD's cards as the kernel's driver amdgpu shows them: plain files under `class/drm`, no library
 * (Documentation/gpu/amdgpu of Linux). What a card does not show is undefined; one that shows no memory is none of ours.
 */
export class AmdDevices {
  private readonly known = new Map<string, KnownCard>()

  constructor(
    private readonly nodeId: string,
    /** Where the kernel's devices stand. */
    private readonly sys = '/sys',
  ) {}

  async next(own: OwnVram): Promise<readonly DeviceReport[]> {
    const seen = new Set<string>()
    for (const name of await cardNames(join(this.sys, 'class/drm'))) {
      const card = await readCard(join(this.sys, 'class/drm', name, 'device'), name)
      if (!card) continue
      // ROCm knows a card by this name too (ROCR_VISIBLE_DEVICES).
      const id = card.uniqueId ? `GPU-${card.uniqueId}` : `${this.nodeId}/${name}`
      const known = this.known.get(id) ?? new KnownCard()
      this.known.set(id, known)
      known.see(id, card, own(id, card.pciAddress))
      seen.add(id)
    }
    return [...this.known].flatMap(([id, { report }]) => {
      if (!report || seen.has(id)) return report ?? []
      return { ...report, health: 'lost', reason: 'the kernel no longer shows it' }
    })
  }
}

class KnownCard {
  report: DeviceReport | undefined
  private readonly foreign = new SteadyBytes(FOREIGN_READINGS, FOREIGN_STEP_BYTES)
  private isHot = false

  see(id: string, card: AmdCard, ownBytes: number): void {
    const enter = card.criticalCelsius ?? HOT_CELSIUS
    this.isHot = isOver(this.isHot, card.temperatureCelsius, { enter, leave: enter - COOLED_BY_CELSIUS })
    const { totalBytes, usedBytes, temperatureCelsius, powerWatts, utilization } = card
    this.report = {
      ...{ id, kind: 'rocm', name: card.name, totalBytes, usedBytes, clique: undefined },
      foreignBytes: usedBytes === undefined ? 0 : this.foreign.next(Math.max(0, usedBytes - ownBytes)),
      ...{ health: this.isHot ? 'hot' : 'ok', reason: this.isHot ? 'too warm' : undefined },
      ...{ utilization, temperatureCelsius, powerWatts },
    }
  }
}

interface AmdCard {
  readonly uniqueId: string | undefined
  readonly name: string
  readonly pciAddress: string | undefined
  readonly totalBytes: number
  readonly usedBytes: number | undefined
  readonly utilization: number | undefined
  readonly temperatureCelsius: number | undefined
  readonly criticalCelsius: number | undefined
  readonly powerWatts: number | undefined
}

async function cardNames(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => [])
  // Beside the cards stand their sockets for screens, such as card0-DP-1.
  return names.filter((name) => /^card\d+$/.test(name)).sort()
}

async function readCard(folder: string, name: string): Promise<AmdCard | undefined> {
  const totalBytes = await number(join(folder, 'mem_info_vram_total'))
  if (totalBytes === undefined) return undefined
  const [sensors] = await readdir(join(folder, 'hwmon')).catch(() => [])
  const sensor = (file: string) => number(join(folder, 'hwmon', sensors ?? '', file))
  const scaled = (value: number | undefined, by: number) => (value === undefined ? undefined : value / by)
  return {
    totalBytes,
    uniqueId: await text(join(folder, 'unique_id')),
    name: (await text(join(folder, 'product_name'))) || `AMD GPU ${name}`,
    pciAddress: /^PCI_SLOT_NAME=(.*)$/m.exec((await text(join(folder, 'uevent'))) ?? '')?.[1],
    usedBytes: await number(join(folder, 'mem_info_vram_used')),
    utilization: scaled(await number(join(folder, 'gpu_busy_percent')), 100),
    temperatureCelsius: scaled(await sensor('temp1_input'), 1000),
    criticalCelsius: scaled(await sensor('temp1_crit'), 1000),
    powerWatts: scaled((await sensor('power1_average')) ?? (await sensor('power1_input')), 1e6),
  }
}

async function number(path: string): Promise<number | undefined> {
  const found = await text(path)
  return found === undefined || found === '' || Number.isNaN(Number(found)) ? undefined : Number(found)
}

async function text(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').then(
    (found) => found.trim(),
    () => undefined,
  )
}
