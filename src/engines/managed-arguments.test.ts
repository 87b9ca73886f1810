import { describe, expect, test } from 'vitest'
import type { GrantedDevice } from './granted-device.ts'
import { type ManagedShape, sglangArguments, vllmArguments } from './managed-arguments.ts'
import { fractionOfCard, fractionOfFree, managedMemory } from './managed-memory.ts'

const GIB = 2 ** 30

function card(bytes: number, freeBytes = 80 * GIB): GrantedDevice {
  return { id: 'GPU-a', kind: 'cuda', name: 'a card', bytes, totalBytes: 80 * GIB, freeBytes }
}

const shape: ManagedShape = {
  ...{ alias: 'm', modelPath: '/m', slots: 16, contextLength: 4096, devices: [card(20 * GIB)] },
  ...{ chatTemplatePath: undefined, extra: [] },
}

describe('the command line', () => {
  test.each([
    [
      'of vLLM behind a socket',
      vllmArguments(shape, { socketPath: '/s.sock' }),
      'serve /m --served-model-name m --uds /s.sock --max-model-len 4096 --max-num-seqs 16 ' +
        '--gpu-memory-utilization 0.250 --tensor-parallel-size 1',
    ],
    [
      'of vLLM on two cards, behind a port',
      vllmArguments({ ...shape, devices: [card(20 * GIB), card(10 * GIB)] }, { port: 7 }),
      'serve /m --served-model-name m --host 127.0.0.1 --port 7 --max-model-len 4096 --max-num-seqs 16 ' +
        '--gpu-memory-utilization 0.125 --tensor-parallel-size 2',
    ],
    [
      'of SGLang',
      sglangArguments({ ...shape, chatTemplatePath: '/t.jinja' }, 7, '/k.yaml'),
      '--config /k.yaml --model-path /m --served-model-name m --host 127.0.0.1 --port 7 ' +
        '--context-length 4096 --max-running-requests 16 --max-total-tokens 65536 ' +
        '--mem-fraction-static 0.218 --tensor-parallel-size 1 --chat-template /t.jinja',
    ],
  ])('%s', (_name, args, expected) => {
    expect(args.join(' ')).toBe(expected)
  })

  test('has what the operator adds before ours, which count last', () => {
    const args = vllmArguments({ ...shape, extra: ['--max-num-seqs', '999'] }, { port: 7 })
    expect(args.lastIndexOf('--max-num-seqs')).toBeGreaterThan(args.indexOf('999'))
  })
})

describe('memory', () => {
  test('is weights, keys and values of all slots, and a margin', () => {
    const facts = { layers: 32, keyValueHeads: 8, headLength: 128, architecture: '', quantization: '' }
    const folder = {
      sizeBytes: 16 * GIB,
      facts: { ...facts, contextLength: undefined, vocabularySize: undefined },
    }
    const { memoryBytes, perDeviceBytes } = managedMemory(folder, { slots: 16, contextLength: 4096 })
    // 128 KiB a token for a model of 8 billion weights with grouped heads.
    expect(memoryBytes).toBe(16 * GIB + 16 * 4096 * 128 * 1024 + perDeviceBytes)
  })

  test('asked for is never above the share, nor the whole card', () => {
    expect(Number(fractionOfCard([card(33.33 * GIB)])) * 80 * GIB).toBeLessThanOrEqual(33.33 * GIB)
    expect(fractionOfCard([card(80 * GIB)])).toBe('0.980')
  })

  test('of SGLang is a part of what is free when it starts', () => {
    expect(fractionOfFree([card(22.5 * GIB, 40 * GIB)])).toBe('0.500')
  })
})
