import { execFileSync } from 'node:child_process'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

export interface Card {
  readonly id: string
  readonly name?: string
  /** Total, of which the driver keeps the second, and all in use. */
  readonly memory?: readonly [number, number, number]
  /** Undefined bytes: the driver does not say how many. */
  readonly processes?: readonly { readonly pid: number; readonly bytes?: number }[]
  /** The driver has no list of processes. */
  readonly unlisted?: boolean
  readonly temperature?: number
  readonly slowdown?: number
  readonly reasons?: number
  readonly power?: number
  readonly utilization?: number
  readonly lost?: boolean
  /** What the driver reports by itself, once each. */
  readonly xids?: readonly number[]
  /** Position of the card that this one is linked to, from one. */
  readonly nvlink?: number
  readonly switch?: number
  readonly mig?: readonly { readonly id: string; readonly memory: readonly [number, number, number] }[]
}

export interface Driver {
  readonly cards: readonly Card[]
  /** What initialisation answers. */
  readonly init?: number
  /** How long each call lasts. */
  readonly hangMs?: number
  /** What the library writes to its output meanwhile. */
  readonly prints?: string
}

/** A libnvidia-ml of this test, compiled now, and the file that says what its driver sees. */
export class NvmlLibrary {
  readonly directory = mkdtempSync(join(tmpdir(), 'hf-nvml-'))
  readonly path = join(this.directory, 'libnvidia-ml.so.1')
  private readonly state = join(this.directory, 'state')

  constructor(driver: Driver) {
    onTestFinished(() => rmSync(this.directory, { recursive: true, force: true }))
    this.sees(driver)
    const source = join(import.meta.dirname, 'nvml.c')
    const flags = ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror', `-DSTATE_FILE="${this.state}"`]
    execFileSync('cc', [...flags, '-o', this.path, source], { stdio: 'inherit' })
  }

  sees({ cards, init, hangMs, prints }: Driver): void {
    const lines = [
      ...line('init', init),
      ...line('hang', hangMs),
      ...line('prints', prints),
      ...cards.flatMap(linesOf),
    ]
    // At once, for it may be read at any moment.
    writeFileSync(`${this.state}.new`, `${lines.join('\n')}\n`)
    renameSync(`${this.state}.new`, this.state)
  }
}

function linesOf(card: Card): readonly string[] {
  return [
    `device ${card.id}`,
    ...line('name', card.name),
    ...line('memory', card.memory?.join(' ')),
    ...(card.processes ?? []).map(({ pid, bytes }) => `process ${pid} ${bytes ?? ''}`),
    ...(card.unlisted ? ['unlisted'] : []),
    ...(card.lost ? ['lost'] : []),
    ...(card.xids ?? []).map((xid) => `xid ${xid}`),
    ...line('temperature', card.temperature),
    ...line('slowdown', card.slowdown),
    ...line('reasons', card.reasons),
    ...line('power', card.power),
    ...line('utilization', card.utilization),
    ...line('nvlink', card.nvlink),
    ...line('switch', card.switch),
    ...(card.mig ?? []).map(({ id, memory }) => `mig ${id} ${memory.join(' ')}`),
  ]
}

function line(key: string, value: number | string | undefined): string[] {
  return value === undefined ? [] : [`${key} ${value}`]
}
