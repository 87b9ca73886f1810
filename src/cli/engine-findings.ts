import { HelixError } from '../core/errors.ts'
import type { EnsureOptions } from '../engines/llama-locate.ts'
import { findLlamaServers } from '../engines/llama-locate.ts'
import { findManagedProgram, type ManagedKind } from '../engines/managed-program.ts'
import { findNvidiaCards } from '../engines/nvidia-cards.ts'

/** One engine on one kind of device. */
export interface EngineFinding {
  readonly engine: 'llama-server' | ManagedKind
  /** What it was tried on: `processor`, or the name of the card; undefined for what is tried with each model. */
  readonly device: string | undefined
  readonly origin: string
  readonly version: string | undefined
  /** Of ours that it carries. */
  readonly patches: readonly string[]
  readonly works: boolean
  readonly reason: string | undefined
  readonly path: string
}

/** Every llama-server on the processor and on each kind of card here, each tried with a test generation. */
export async function findLlamaFindings(options: EnsureOptions): Promise<readonly EngineFinding[]> {
  const cards = new Map((await findNvidiaCards(options)).map((card) => [card.name, card]))
  const findings: EngineFinding[] = []
  for (const device of [undefined, ...cards.values()]) {
    const found = await findLlamaServers({ ...options, devices: device ? [device] : [] })
    if (found.length === 0 && device) findings.push(notMade(device.name))
    findings.push(
      ...found.map(({ origin, backend, version, patches, works, reason, serverPath }) => ({
        ...{
          engine: 'llama-server' as const,
          device: device?.name ?? 'processor',
          version,
          patches,
          works,
          reason,
        },
        ...{ origin: backend === undefined ? origin : `${origin}, ${backend}`, path: serverPath },
      })),
    )
  }
  return findings
}

function notMade(device: string): EngineFinding {
  const reason =
    "there is none yet: 'helixflow engines build' makes one, and so does the first model for this card"
  return {
    ...{
      engine: 'llama-server',
      device,
      origin: '-',
      version: undefined,
      patches: [],
      works: false,
      reason,
      path: '-',
    },
  }
}

/** vLLM and SGLang where they are installed. They need half a minute to say so, and a model to be tried with. */
export async function findManagedFindings(
  commands: Readonly<Record<ManagedKind, string | undefined>>,
  options: { readonly searchPath: string; readonly signal?: AbortSignal | undefined },
): Promise<readonly EngineFinding[]> {
  const kinds = ['vllm', 'sglang'] as const
  const findings = await Promise.all(kinds.map((kind) => findManaged(kind, commands[kind], options)))
  return findings.flat()
}

async function findManaged(
  kind: ManagedKind,
  configured: string | undefined,
  options: { readonly searchPath: string; readonly signal?: AbortSignal | undefined },
): Promise<readonly EngineFinding[]> {
  const origin = configured === undefined ? 'path' : 'configured'
  const known = { engine: kind, device: undefined, origin, version: undefined, patches: [] }
  try {
    const { command } = await findManagedProgram(kind, { configured, ...options })
    return [{ ...known, works: true, reason: undefined, path: command.join(' ') }]
  } catch (cause) {
    if (!(cause instanceof HelixError)) throw cause
    if (cause.code === 'engine_missing' && configured === undefined) return []
    return [{ ...known, works: false, reason: cause.publicMessage, path: configured ?? '' }]
  }
}
