import type { CUDA_PACKAGES } from './llama-packages.ts'

/** A way to the library `libggml-cuda.so`, with which our build of `llama-server` computes on NVIDIA cards. */
export type CudaWay =
  | { readonly kind: 'named'; readonly path: string }
  | { readonly kind: 'package'; readonly release: keyof typeof CUDA_PACKAGES }
  | { readonly kind: 'compiled'; readonly nvcc: string; readonly cmake: string }

export interface CudaFacts {
  /** `engines.cudaBackend` of the configuration. */
  readonly named: string | undefined
  /** `process.platform`-`process.arch`. */
  readonly platform: string
  /** Major releases of CUDA whose runtime libraries are installed. */
  readonly runtimes: ReadonlySet<number>
  /** The compiler of a CUDA toolkit, and CMake, where they are installed. */
  readonly nvcc: string | undefined
  readonly cmake: string | undefined
}

/**
 * What is worth trying, in order. A library that the operator names is never silently replaced by another. Ready-made
 * ones come next, a download of 140 to 180 MB, and only with the runtime that they are linked to; whether their code
 * runs on the card is only known when it has. Compiling takes minutes on many cores, and makes code for these cards.
 */
export function cudaWays({ named, platform, runtimes, nvcc, cmake }: CudaFacts): readonly CudaWay[] {
  if (named !== undefined) return [{ kind: 'named', path: named }]
  const hasPackages = platform === 'linux-x64'
  return [
    ...(hasPackages && runtimes.has(13) ? [{ kind: 'package', release: 'cuda-13' } as const] : []),
    ...(hasPackages && runtimes.has(12) ? [{ kind: 'package', release: 'cuda-12' } as const] : []),
    ...(nvcc !== undefined && cmake !== undefined ? [{ kind: 'compiled', nvcc, cmake } as const] : []),
  ]
}

/** What is missing for there to be any way, as a sentence for the operator. */
export function noWay({ platform }: Pick<CudaFacts, 'platform'>): string {
  const ready = platform === 'linux-x64' ? 'the CUDA runtime 12 or 13 (libcudart and libcublas), or ' : ''
  return (
    `To compute on NVIDIA cards it needs ${ready}a CUDA toolkit with nvcc, and CMake. Install one of them, or name a ` +
    'libggml-cuda.so in helixflow.yaml: engines.cudaBackend'
  )
}

/** Major releases in what `ldconfig -p` prints, or in the names of files of a folder. */
export function runtimesIn(listing: string): ReadonlySet<number> {
  return new Set([...listing.matchAll(/libcudart\.so\.(\d+)/g)].map(([, major]) => Number(major)))
}

/** The two commands that compile the library for the cards of this machine alone; for all cards it takes an hour. */
export function cudaCompileCommands(
  { nvcc, cmake }: { readonly nvcc: string; readonly cmake: string },
  { sources, objects, jobs }: { readonly sources: string; readonly objects: string; readonly jobs: number },
): readonly (readonly [program: string, ...args: string[]])[] {
  const settings = [
    ...['CMAKE_BUILD_TYPE=Release', 'BUILD_SHARED_LIBS=ON', 'GGML_BACKEND_DL=ON', 'GGML_NATIVE=OFF'],
    ...['GGML_CUDA=ON', 'GGML_CUDA_NCCL=OFF', `CMAKE_CUDA_COMPILER=${nvcc}`],
    'CMAKE_CUDA_ARCHITECTURES=native',
  ]
  return [
    [cmake, '-S', sources, '-B', objects, ...settings.map((setting) => `-D${setting}`)],
    [cmake, '--build', objects, '--target', 'ggml-cuda', '--parallel', `${jobs}`],
  ]
}
