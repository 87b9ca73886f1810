import type { Config, ModelSettings } from '../config/schema.ts'
import type { InstanceShape } from '../contracts/node.ts'
import type { Device, ModelSpec } from '../scheduler/state.ts'

/** What the settings say of where a model goes and how long it stays. */
export type ModelPlacement = Pick<
  ModelSpec,
  'splitMax' | 'onlyOn' | 'group' | 'keepAliveMs' | 'pinned' | 'priority' | 'replicasMin' | 'replicasMax'
>

const SPLIT_MAX = 8
const CARDS = ['cuda', 'rocm']

/** The settings of models and groups, as the scheduler needs them. */
export class ModelRules {
  constructor(
    private readonly models: Config['models'],
    private readonly groups: Config['scheduler']['groups'],
  ) {}

  shapeOf(model: string, trainedContextLength: number | undefined): InstanceShape {
    const own = this.of(model)
    const wanted = own.contextLength ?? this.models.contextLength
    return {
      slots: own.slots ?? this.models.slots,
      // Beyond what it was trained for a model talks nonsense.
      contextLength: Math.min(wanted, trainedContextLength ?? wanted),
      chatTemplate: own.chatTemplate,
      engine: own.engine,
    }
  }

  placementOf(model: string): ModelPlacement {
    const own = this.of(model)
    const pinned = own.pinned ?? false
    // vLLM and SGLang compute on cards alone; of a folder it is one of them, said or not.
    const onlyOn = own.devices ?? (own.path === undefined ? undefined : CARDS)
    const replicasMin = own.replicasMin ?? (pinned ? 1 : 0)
    return {
      ...{ splitMax: own.splitMax ?? SPLIT_MAX, onlyOn, group: own.group, pinned, replicasMin },
      ...{ keepAliveMs: own.keepAlive ?? this.models.keepAlive, priority: own.priority ?? 0 },
      replicasMax: Math.max(own.replicasMax ?? 1, replicasMin),
    }
  }

  /** Models that must be loaded although nobody asked. */
  get owed(): readonly string[] {
    return Object.keys(this.models.perModel).filter((name) => this.placementOf(name).replicasMin > 0)
  }

  /** The group of models that a device is kept for. */
  groupOf({ id, nodeId }: Pick<Device, 'id' | 'nodeId'>): string | undefined {
    return Object.entries(this.groups).find(
      ([, devices]) => devices.includes(id) || devices.includes(nodeId),
    )?.[0]
  }

  private of(model: string): ModelSettings {
    return this.models.perModel[model] ?? {}
  }
}
