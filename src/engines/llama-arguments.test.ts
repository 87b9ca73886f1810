import { describe, expect, test } from 'vitest'
import { batchSizes, type EngineShape, llamaServerArguments, missingFlags } from './llama-arguments.ts'

const shape: EngineShape = { kind: 'generation', alias: 'tiny', slots: 4, contextLength: 2048, threads: 2 }

function flagValue(flag: string, args: readonly string[]): string | undefined {
  return args.includes(flag) ? args[args.indexOf(flag) + 1] : undefined
}

describe('the command line', () => {
  test('gives each slot the whole context length', () => {
    const args = llamaServerArguments(shape, '/m.gguf', '/s.sock')
    expect(flagValue('--ctx-size', args)).toBe('8192')
    expect(flagValue('--parallel', args)).toBe('4')
    expect(args).toContain('--no-kv-unified')
  })

  test('leaves a thread for health checks while all slots are busy', () => {
    const args = llamaServerArguments(shape, '/m.gguf', '/s.sock')
    expect(Number(flagValue('--threads-http', args))).toBeGreaterThan(shape.slots)
  })

  test('lets an encoder read a text of the full length in one piece', () => {
    const encoder = { ...shape, kind: 'embedding' } as const
    const args = llamaServerArguments(encoder, '/m.gguf', '/s.sock')
    expect(flagValue('--ubatch-size', args)).toBe('2048')
    expect(args).not.toContain('--pooling')
    expect(batchSizes(encoder)).toEqual({ batch: 2048, microBatch: 2048 })
  })

  test.each([1, 3, 5, 7, 12, 600])('computes in pieces that %i slots divide', (slots) => {
    for (const kind of ['generation', 'embedding'] as const) {
      const { batch, microBatch } = batchSizes({ kind, slots, contextLength: 512 })
      expect([batch % slots, microBatch % slots]).toEqual([0, 0])
      expect(microBatch).toBeGreaterThanOrEqual(512)
      expect(microBatch).toBeLessThan(512 + slots)
    }
  })

  test('has template and tensor check only when asked', () => {
    const plain = llamaServerArguments(shape, '/m.gguf', '/s.sock')
    expect(plain).not.toContain('--check-tensors')
    const asked = { ...shape, checkTensors: true, chatTemplatePath: '/t.jinja' }
    const args = llamaServerArguments(asked, '/m.gguf', '/s.sock')
    expect(args).toContain('--check-tensors')
    expect(flagValue('--chat-template-file', args)).toBe('/t.jinja')
  })
})

describe('flags that an engine lacks', () => {
  const help = (flags: readonly string[]) =>
    flags.map((flag) => `-x,  ${flag} N    does something`).join('\n')
  const all = missingFlags('')

  test('are none when its help names them all', () => {
    expect(all.length).toBeGreaterThan(20)
    expect(missingFlags(help(all))).toEqual([])
  })

  test('are found though a longer flag begins with the same letters', () => {
    const without = all.map((flag) => (flag === '--fit' ? '--fit-target' : flag))
    expect(missingFlags(help(without))).toEqual(['--fit'])
  })
})
