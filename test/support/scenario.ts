import type { WorkloadRequest } from '../../src/simulator/job.ts'
import type { ModelProfile, Scenario } from '../../src/simulator/scenario.ts'
import type { StepModel } from '../../src/simulator/step-model.ts'
import { device, model, plainPolicy } from './cluster.ts'

/** Values for tests of the simulator: everything that a test does not speak of is plain. */
export function profile(name: string, memoryBytes: number, own: Partial<ModelProfile> = {}): ModelProfile {
  const spec = model(name, memoryBytes, { keepAliveMs: 600_000 })
  const steps: StepModel = {
    fixedMs: 10,
    perSequenceMs: 1,
    perPromptMs: 0,
    perPromptTokenMs: 0.1,
    stepTokensMax: 512,
  }
  return { spec, steps, fileBytes: memoryBytes, prefixBlocksMax: 64, ...own }
}

export function request(id: number, arrivalMs: number, own: Partial<WorkloadRequest> = {}): WorkloadRequest {
  return { id, arrivalMs, model: 'a', tenant: 't', promptTokens: 100, outputTokens: 10, blocks: [], ...own }
}

export function scenario(own: Partial<Scenario> = {}): Scenario {
  return {
    devices: [device('d', 100)],
    models: [profile('a', 10)],
    requests: [],
    policy: plainPolicy,
    gateway: {
      ...{
        routing: 'least-loaded',
        fairness: 'tokens',
        queueMax: 10_000,
        waitMaxMs: 1e9,
        patienceMs: undefined,
      },
      demandEveryMs: 1_000,
    },
    costs: { unloadMs: 50, pageCacheBytes: 1_000, loadCrashChance: 0, crashesPerHour: 0 },
    calendarStartMs: 0,
    seed: 1,
    ...own,
  }
}
