import { z } from 'zod'

/** The section `tracing` of helixflow.yaml. */
export const TracingSettings = z.strictObject({
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      'Where spans go: the OTLP/HTTP address of a collector, as http://127.0.0.1:4318/v1/traces. Nothing is traced without it.',
    ),
  headers: z
    .record(z.string().min(1), z.string())
    .default({})
    .describe('What the collector wants to see in each request, such as {authorization: ...}.'),
  sampleRatio: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe(
      'The part of the requests that is traced; those whose caller says that theirs is not never are.',
    ),
  serviceName: z.string().min(1).max(128).default('helixflow').describe('service.name of all spans.'),
  attributes: z
    .record(z.string().min(1).max(128), z.string().max(256))
    .default({})
    .describe(
      'More that all spans say of where they come from, such as {deployment.environment.name: test}.',
    ),
  upstreams: z
    .boolean()
    .default(false)
    .describe('true: servers under `upstreams` are told the trace too, as our own engines are.'),
})
