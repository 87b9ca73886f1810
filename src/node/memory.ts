import { freemem } from 'node:os'
import { machineMemory, memoryLimit } from '../config/machine-memory.ts'

/** What is left to the rest of the machine: the operating system, the database, this program. */
const SHARE_FOR_MODELS = 0.8

/** Memory that models may take on this machine: what the operator says, else four fifths of what we may use. */
export function memoryForModels(limitBytes: number | undefined): number {
  return limitBytes ?? shareForModels(machineMemory())
}

/** Of so much memory, what models may take. */
export function shareForModels(machineBytes: number): number {
  return Math.floor(machineBytes * SHARE_FOR_MODELS)
}

/** Memory that is free now, for the operator to see. */
export function availableMemory(): number {
  return Math.min(freemem(), memoryLimit())
}
