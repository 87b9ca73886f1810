import type { EngineAddress, LocalEngineKind } from '../contracts/pool.ts'

/** What a started engine says about itself and its model. */
export interface EngineFacts {
  /** Tokens of prompt and answer together, for one request. */
  readonly contextLength: number
  /** Whether it shows tools to the model. */
  readonly supportsTools: boolean
  /** Tokens that the model knows; undefined where nobody says. */
  readonly vocabularySize: number | undefined
}

/** A running process that has loaded one model and generates for it, whichever program it is. */
export interface Engine extends EngineFacts {
  readonly kind: LocalEngineKind
  readonly pid: number
  readonly address: EngineAddress
  /** Resolves when the process has ended, however that came about. */
  readonly exited: Promise<EngineEnd>
  /** Whether it answers within that time. */
  isAlive(timeoutMs: number): Promise<boolean>
  /** Whether its generating loop comes round within that time; it may be stuck while the rest still answers. */
  isWorking(timeoutMs: number): Promise<boolean>
  /** Asks it to end, insists after `graceMs`; returns when the process, its children and its socket are gone. */
  stop(graceMs: number): Promise<void>
}

export interface EngineEnd {
  readonly code: number | undefined
  readonly signal: NodeJS.Signals | undefined
  /** What it printed last. Holds nothing of what users wrote. */
  readonly lastLines: readonly string[]
}
