import { describe, expect, test } from 'vitest'
import { estimateFromHeader, parseFit } from './llama-fit.ts'

const MIB = 2 ** 20

describe('what llama-fit-params prints', () => {
  test('is summed over the devices', () => {
    const estimate = parseFit('CUDA0 (NVIDIA H100) 7000 400 300\nHost 92 180 102 \n')
    expect(estimate).toEqual({ modelBytes: 7092 * MIB, contextBytes: 580 * MIB, computeBytes: 402 * MIB })
  })

  test('is no estimate when it holds no such line', () => {
    expect(parseFit('')).toBeUndefined()
    expect(parseFit('failed to fit params\n')).toBeUndefined()
  })
})

describe('the estimate from the header', () => {
  const header = {
    fileBytes: 1_000_000,
    blockCount: 30,
    headCount: 9,
    headCountKv: 3,
    embeddingLength: 576,
    vocabSize: 49_152,
    kind: 'generation',
  } as const

  test('counts 16-bit keys and values of every layer, slot and token', () => {
    const { modelBytes, contextBytes } = estimateFromHeader(header, { slots: 2, contextLength: 4096 })
    expect(modelBytes).toBe(1_000_000)
    expect(contextBytes).toBe(2 * 2 * 30 * 3 * 128 * 2 * 4096)
  })

  test('keeps nothing per token for a model without attention', () => {
    const recurrent = { ...header, headCount: 0, headCountKv: 0 }
    expect(estimateFromHeader(recurrent, { slots: 2, contextLength: 4096 }).contextBytes).toBe(0)
  })
})
