import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { z } from 'zod'
import { duration, size } from '../config/quantities.ts'
import { HelixError } from '../core/errors.ts'
import type { Device } from '../scheduler/state.ts'
import { devicesFrom, modelOfSize } from './fleet.ts'
import type { ModelProfile } from './scenario.ts'

const Milliseconds = z.number().min(0)

const Model = z.strictObject({
  name: z.string().min(1),
  memory: size(),
  file: size().optional(),
  slots: z.int().min(1).max(256).default(8),
  keepAlive: duration().prefault('10m'),
  load: duration().optional(),
  cachedLoad: duration().optional(),
  pinned: z.boolean().default(false),
  priority: z.int().min(-100).max(100).default(0),
  replicasMin: z.int().min(0).default(0),
  replicasMax: z.int().min(1).default(1),
  splitMax: z.int().min(1).default(1),
  devices: z.array(z.string().min(1)).min(1).optional(),
  step: z
    .strictObject({
      fixedMs: z.number().gt(0),
      perSequenceMs: Milliseconds,
      perPromptMs: Milliseconds.default(0),
      perPromptTokenMs: Milliseconds,
      stepTokensMax: z.int().min(1).default(2_048),
    })
    .optional(),
})

const Cluster = z.strictObject({
  nodes: z.array(z.strictObject({ name: z.string().min(1), devices: z.string() })).min(1),
  models: z.array(Model).min(1).optional(),
})

/** The devices and models that a file describes; without models in it they are made up. */
export interface ClusterFile {
  readonly devices: readonly Device[]
  readonly models: readonly ModelProfile[] | undefined
}

/** @throws HelixError `invalid_configuration` with every mistake */
export function readClusterFile(path: string): ClusterFile {
  const parsed = Cluster.safeParse(documentOf(path))
  if (!parsed.success) {
    const mistakes = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`)
    throw new HelixError('invalid_configuration', `${path} is no cluster.\n  ${mistakes.join('\n  ')}`)
  }
  const { nodes, models } = parsed.data
  const names = nodes.map(({ name }) => name)
  return {
    devices: nodes.flatMap(({ name, devices }) => devicesFrom(devices, name)),
    models: models?.map((model) => profileOf(model, names)),
  }
}

function documentOf(path: string): unknown {
  try {
    return parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new HelixError('invalid_configuration', `${path} cannot be read: ${(cause as Error).message}`, {
      cause,
    })
  }
}

function profileOf(model: z.infer<typeof Model>, nodes: readonly string[]): ModelProfile {
  const { name, memory, slots, keepAlive, replicasMax } = model
  const plain = modelOfSize({
    ...{ name, nodes, slots, replicasMax, memoryBytes: memory, keepAliveMs: keepAlive },
  })
  return {
    ...plain,
    fileBytes: model.file ?? plain.fileBytes,
    steps: model.step ?? plain.steps,
    spec: {
      ...plain.spec,
      loadMs: model.load ?? plain.spec.loadMs,
      cachedLoadMs: model.cachedLoad ?? plain.spec.cachedLoadMs,
      ...{ pinned: model.pinned, priority: model.priority, replicasMin: model.replicasMin },
      ...{ splitMax: model.splitMax, onlyOn: model.devices },
    },
  }
}
