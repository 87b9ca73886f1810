import { modelNotFound } from '../contracts/model-not-found.ts'
import type { InstanceShape, ModelFile } from '../contracts/node.ts'
import { HelixError } from '../core/errors.ts'
import type { ModelSpec } from '../scheduler/state.ts'
import type { LoadTimesSeen } from './load-times.ts'
import type { ModelRules } from './model-rules.ts'
import type { NodeDirectory } from './node-directory.ts'

export interface CatalogueParts {
  readonly nodes: NodeDirectory
  readonly rules: ModelRules
  readonly loadTimes: LoadTimesSeen
}

/** A model file, and the nodes that hold it. */
export interface CatalogueEntry {
  readonly file: ModelFile
  readonly nodes: readonly string[]
  /** Those of them that have it in their page cache. */
  readonly cachedOn: readonly string[]
}

/** The models of all nodes, and what the settings say of each. */
export class Catalogue {
  constructor(private readonly parts: CatalogueParts) {}

  /** By name; a model of one name with another content elsewhere is not the same model and is left out there. */
  async list(): Promise<readonly CatalogueEntry[]> {
    const nodes = this.parts.nodes.all()
    const lists = await Promise.all(
      nodes.map((node) =>
        node.listModels().then(
          (files) => files.map((file) => ({ nodeId: node.nodeId, file })),
          // One that does not answer is about to be lost.
          () => [],
        ),
      ),
    )
    const byName = new Map<string, Copy[]>()
    for (const copy of lists.flat()) byName.set(copy.file.name, [...(byName.get(copy.file.name) ?? []), copy])
    return [...byName.values()].map(toEntry).filter((entry) => entry !== undefined)
  }

  /** @throws HelixError `model_not_found` */
  async find(name: string): Promise<CatalogueEntry> {
    const entry = (await this.list()).find(({ file }) => file.name === name)
    if (entry) return entry
    throw modelNotFound(name)
  }

  shapeOf({ name, trainedContextLength }: ModelFile): InstanceShape {
    return this.parts.rules.shapeOf(name, trainedContextLength)
  }

  /**
   * The model as the scheduler places it.
   * @throws HelixError `model_unavailable` (the file is of no use), `engine_missing`, `model_invalid`
   */
  async specOf({ file, nodes }: CatalogueEntry): Promise<ModelSpec> {
    if (file.invalidBecause) {
      throw new HelixError(
        'model_unavailable',
        `The file of the model '${file.name}' cannot be used: ${file.invalidBecause}`,
      )
    }
    const shape = this.shapeOf(file)
    const node = nodes.map((id) => this.parts.nodes.get(id)).find((one) => one !== undefined)
    if (!node) throw new HelixError('model_unavailable', `No node with the model '${file.name}' is there.`)
    const need = await node.estimate(file.name, shape)
    return {
      ...{ name: file.name, ...need, nodes, slots: shape.slots },
      ...this.parts.rules.placementOf(file.name),
      ...this.parts.loadTimes.of(file),
    }
  }
}

interface Copy {
  readonly nodeId: string
  readonly file: ModelFile
}

function toEntry(copies: readonly Copy[]): CatalogueEntry | undefined {
  const first = copies.find(({ file }) => !file.invalidBecause) ?? copies[0]
  if (!first) return undefined
  const same = copies.filter(({ file }) => file === first.file || isSame(file, first.file))
  return {
    file: first.file,
    nodes: same.map(({ nodeId }) => nodeId),
    cachedOn: same.filter(({ file }) => file.cached).map(({ nodeId }) => nodeId),
  }
}

function isSame(a: ModelFile, b: ModelFile): boolean {
  if (a.invalidBecause || a.sizeBytes !== b.sizeBytes) return false
  return a.sha256 === undefined || b.sha256 === undefined || a.sha256 === b.sha256
}
