import type { LibraryHandle } from 'koffi'

/** What a function of NVML returned, of which only these are told apart. */
export type NvmlAnswer = 'ok' | 'larger' | 'lost' | 'failed'

type Value = number | bigint | Buffer | null
type Call = (...values: Value[]) => unknown

const SUCCESS = 0
const INSUFFICIENT_SIZE = 7
const GPU_IS_LOST = 15
const RESET_REQUIRED = 16

/**
 * NVIDIA's management library (declarations: `nvml.h`). Pointers and structs are buffers and handles are numbers: the
 * layouts stand where they are read, and nothing depends on how a binding describes types.
 */
export class Nvml {
  private readonly functions = new Map<string, Call | undefined>()

  private constructor(private readonly library: LibraryHandle) {}

  /** Undefined where there is no such library, no driver behind it, or no binding for this machine. */
  static async open(path: string): Promise<Nvml | undefined> {
    try {
      const { default: koffi } = await import('koffi')
      const nvml = new Nvml(koffi.load(path))
      return nvml.ask('nvmlInit_v2', '') === 'ok' ? nvml : undefined
    } catch {
      return undefined
    }
  }

  /** `parameters` as in C. A function that this library does not have has failed: each driver knows some more. */
  ask(name: string, parameters: string, ...values: Value[]): NvmlAnswer {
    const code = this.find(name, parameters)?.(...values)
    if (code === SUCCESS) return 'ok'
    if (code === INSUFFICIENT_SIZE) return 'larger'
    return code === GPU_IS_LOST || code === RESET_REQUIRED ? 'lost' : 'failed'
  }

  private find(name: string, parameters: string): Call | undefined {
    if (!this.functions.has(name)) this.functions.set(name, this.declare(`int ${name}(${parameters})`))
    return this.functions.get(name)
  }

  private declare(declaration: string): Call | undefined {
    try {
      return this.library.func(declaration)
    } catch {
      return undefined
    }
  }
}
