import { z } from 'zod'
import { duration, size } from './quantities.ts'

/** How the processes that run models are found, started and watched. */
export const EngineSettings = z.strictObject({
  llamaServer: z
    .string()
    .optional()
    .describe('Path of a llama-server to use instead of the one found or built.'),
  cudaBackend: z
    .string()
    .optional()
    .describe(
      'Path of a libggml-cuda.so, of the same release of llama.cpp, with which the one built here computes on NVIDIA cards; by default one is fetched or compiled.',
    ),
  cudaToolkit: z
    .string()
    .optional()
    .describe('Folder of a CUDA toolkit, with bin/nvcc and lib64; by default /usr/local/cuda.'),
  vllm: z
    .string()
    .min(1)
    .optional()
    .describe('Command that starts vLLM, such as /opt/vllm/bin/vllm; by default the vllm on the PATH.'),
  sglang: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Command that starts SGLang; by default python3 -m sglang.launch_server, with the python3 on the PATH.',
    ),
  threads: z
    .int()
    .min(1)
    .max(4_096)
    .optional()
    .describe(
      'Threads per engine; by default the cores of this machine, divided among the models that it may run.',
    ),
  memoryLimit: size()
    .optional()
    .describe(
      "Of this machine's own memory, for models: exactly that much. By default four fifths of what it has, less what others take beyond the rest.",
    ),
  nvmlLibrary: z
    .string()
    .optional()
    .describe("Path of NVIDIA's libnvidia-ml.so.1, where the system does not find it by its name."),
  startTimeout: duration().prefault('5m').describe('Longest time for a model to load.'),
  probeInterval: duration().prefault('2s').describe('How often a running engine is asked whether it lives.'),
  probeTimeout: duration()
    .prefault('5s')
    .describe('An engine that does not answer for this long is replaced.'),
  stuckTimeout: duration()
    .prefault('10m')
    .describe(
      'An engine that answers but generates nothing for this long is replaced. One batch must fit in it.',
    ),
  crashesMax: z
    .int()
    .min(1)
    .max(100)
    .default(3)
    .describe('Crashes of one model in ten minutes after which it is quarantined.'),
})
