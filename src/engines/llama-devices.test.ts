import { describe, expect, test } from 'vitest'
import { type GrantedDevice, visibleDevices } from './granted-device.ts'
import { batchSizes } from './llama-arguments.ts'
import { llamaDeviceArguments } from './llama-devices.ts'

const GIB = 2 ** 30

function granted(id: string, kind: GrantedDevice['kind'], bytes = 8 * GIB): GrantedDevice {
  return { id, kind, bytes, name: id, totalBytes: 80 * GIB, freeBytes: 80 * GIB }
}

const cuda = [granted('GPU-a', 'cuda', 6 * GIB), granted('GPU-b', 'cuda', 2 * GIB)]

describe('where the model goes', () => {
  test.each([
    ['no device', [], '--device none --n-gpu-layers 0'],
    ['the processor', [granted('n/cpu', 'cpu')], '--device none --n-gpu-layers 0'],
    [
      'one card',
      [granted('GPU-a', 'cuda')],
      '--device CUDA0 --n-gpu-layers all --split-mode none --main-gpu 0',
    ],
    [
      'two cards',
      cuda,
      '--device CUDA0,CUDA1 --n-gpu-layers all --split-mode layer --tensor-split 6144,2048',
    ],
    [
      'a card of AMD',
      [granted('GPU-c', 'rocm')],
      '--device ROCm0 --n-gpu-layers all --split-mode none --main-gpu 0',
    ],
    ['a Mac', [granted('m/gpu', 'metal')], '--n-gpu-layers all --split-mode none --main-gpu 0'],
  ] as const)('%s', (_name, devices, expected) => {
    expect(llamaDeviceArguments(devices).join(' ')).toBe(expected)
  })

  test('a share too small to count is still a part', () => {
    const [first = granted('', 'cuda')] = cuda
    expect(llamaDeviceArguments([first, granted('GPU-d', 'cuda', 10)]).at(-1)).toBe('6144,1')
  })

  test('is never a card and the processor', () => {
    expect(() => llamaDeviceArguments([...cuda, granted('n/cpu', 'cpu')])).toThrow(/several kinds/)
  })
})

describe('what the engine sees', () => {
  test.each([
    ['its cards by UUID, in their order', cuda, { CUDA_VISIBLE_DEVICES: 'GPU-a,GPU-b' }],
    ['its cards of AMD', [granted('GPU-c', 'rocm')], { ROCR_VISIBLE_DEVICES: 'GPU-c' }],
    [
      'no card on the processor',
      [granted('n/cpu', 'cpu')],
      { CUDA_VISIBLE_DEVICES: '', HIP_VISIBLE_DEVICES: '-1' },
    ],
    ['all that a Mac has', [granted('m/gpu', 'metal')], {}],
  ] as const)('%s', (_name, devices, expected) => {
    expect(visibleDevices(devices)).toEqual(expected)
  })
})

describe('tokens computed at once', () => {
  test.each([
    ['on the processor', 'generation', [], { batch: 512, microBatch: 512 }],
    ['on a card', 'generation', cuda, { batch: 2048, microBatch: 512 }],
    ['of an embedding: the whole text', 'embedding', cuda, { batch: 4096, microBatch: 4096 }],
  ] as const)('%s', (_name, kind, devices, expected) => {
    expect(batchSizes({ kind, slots: 4, contextLength: 4096, devices })).toEqual(expected)
  })
})
