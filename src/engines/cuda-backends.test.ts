import { describe, expect, test } from 'vitest'
import { type CudaFacts, cudaCompileCommands, cudaWays, noWay, runtimesIn } from './cuda-backends.ts'

const bare: CudaFacts = {
  ...{ named: undefined, platform: 'linux-x64', runtimes: new Set() },
  ...{ nvcc: undefined, cmake: undefined },
}

describe('ways to compute on NVIDIA cards', () => {
  test.each([
    ['nothing installed', {}, []],
    ['the runtime of CUDA 13', { runtimes: new Set([13]) }, ['cuda-13']],
    ['both runtimes: the newer first', { runtimes: new Set([12, 13]) }, ['cuda-13', 'cuda-12']],
    ['another runtime', { runtimes: new Set([11]) }, []],
    [
      'a toolkit: ready-made code before what takes minutes',
      { runtimes: new Set([13]), nvcc: '/n', cmake: '/c' },
      ['cuda-13', 'compiled'],
    ],
    ['a compiler without CMake', { nvcc: '/n' }, []],
    ['ARM, for which there is no ready-made one', { platform: 'linux-arm64', runtimes: new Set([13]) }, []],
    [
      'a library that the operator names, and then no other',
      { named: '/l.so', runtimes: new Set([13]), nvcc: '/n', cmake: '/c' },
      ['named'],
    ],
  ])('%s', (_name, facts, expected) => {
    const ways = cudaWays({ ...bare, ...facts })
    expect(ways.map((way) => (way.kind === 'package' ? way.release : way.kind))).toEqual(expected)
  })

  test('without any, what is missing is told', () => {
    expect(noWay({ platform: 'linux-x64' })).toMatch(/runtime 12 or 13.*nvcc.*engines\.cudaBackend/)
    expect(noWay({ platform: 'linux-arm64' })).not.toMatch(/runtime/)
  })
})

test('runtimes are found among the libraries of the system', () => {
  const listing =
    '\tlibcudart.so.13 (libc6,x86-64) => /usr/local/cuda-13.0/lib64/libcudart.so.13\n\tlibcudart.so.12.4.127\n'
  expect([...runtimesIn(listing)]).toEqual([13, 12])
  expect(runtimesIn('libcuda.so.1\n').size).toBe(0)
})

test('the library is compiled for the cards that are here, and nothing else of llama.cpp', () => {
  const [configure, build] = cudaCompileCommands(
    { nvcc: '/cuda/bin/nvcc', cmake: '/usr/bin/cmake' },
    { sources: '/s', objects: '/o', jobs: 16 },
  )
  expect(configure).toContain('-DCMAKE_CUDA_ARCHITECTURES=native')
  expect(configure).toContain('-DCMAKE_CUDA_COMPILER=/cuda/bin/nvcc')
  expect(build?.join(' ')).toBe('/usr/bin/cmake --build /o --target ggml-cuda --parallel 16')
})
