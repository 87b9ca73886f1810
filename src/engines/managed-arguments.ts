import type { GrantedDevice } from './granted-device.ts'
import { fractionOfCard, fractionOfFree } from './managed-memory.ts'

/** What one process of vLLM or SGLang is to serve. */
export interface ManagedShape {
  /** What the engine calls the model in its answers. */
  readonly alias: string
  /** The folder of the model. */
  readonly modelPath: string
  /** Requests worked on at the same time. */
  readonly slots: number
  /** Tokens of prompt and answer together, for one request. */
  readonly contextLength: number
  /** At least one card. */
  readonly devices: readonly GrantedDevice[]
  /** Absolute; used instead of the model's own. */
  readonly chatTemplatePath: string | undefined
  /** What the operator adds; where it says the same as ours, ours holds. */
  readonly extra: readonly string[]
}

/** Where the engine listens. */
export type Door = { readonly socketPath: string } | { readonly port: number }

/** The arguments after `vllm`. The key comes by the environment, which not everybody can read. */
export function vllmArguments(shape: ManagedShape, door: Door): string[] {
  return [
    ...['serve', shape.modelPath, ...shape.extra, '--served-model-name', shape.alias],
    ...('socketPath' in door
      ? ['--uds', door.socketPath]
      : ['--host', '127.0.0.1', '--port', `${door.port}`]),
    ...['--max-model-len', `${shape.contextLength}`, '--max-num-seqs', `${shape.slots}`],
    ...['--gpu-memory-utilization', fractionOfCard(shape.devices)],
    ...['--tensor-parallel-size', `${shape.devices.length}`],
    ...(shape.chatTemplatePath ? ['--chat-template', shape.chatTemplatePath] : []),
  ]
}

/** The arguments after `python -m sglang.launch_server`. Its key is in the settings file, for it reads it nowhere else. */
export function sglangArguments(shape: ManagedShape, port: number, settingsPath: string): string[] {
  return [
    ...['--config', settingsPath, '--model-path', shape.modelPath, ...shape.extra],
    ...['--served-model-name', shape.alias, '--host', '127.0.0.1', '--port', `${port}`],
    ...['--context-length', `${shape.contextLength}`, '--max-running-requests', `${shape.slots}`],
    ...['--max-total-tokens', `${shape.slots * shape.contextLength}`],
    ...['--mem-fraction-static', fractionOfFree(shape.devices)],
    ...['--tensor-parallel-size', `${shape.devices.length}`],
    ...(shape.chatTemplatePath ? ['--chat-template', shape.chatTemplatePath] : []),
  ]
}
