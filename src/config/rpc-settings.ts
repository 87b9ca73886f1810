import { z } from 'zod'

const port = z.int().min(0).max(65_535)
const secureUrl = z.url({ protocol: /^https$/ })

/** How the services of several machines reach each other. */
export const RpcSettings = z.strictObject({
  tls: z
    .strictObject({ authority: z.string(), certificate: z.string(), key: z.string() })
    .optional()
    .describe('PEM files for services on several machines: authority, certificate, key.'),
  authUrl: secureUrl
    .optional()
    .describe('Where `helixflow auth` runs; by default the auth service runs in this very process.'),
  authHost: z.string().default('127.0.0.1').describe('Address that `helixflow auth` listens on.'),
  authPort: port.default(9443).describe('Port that `helixflow auth` listens on.'),
  poolUrls: z
    .array(secureUrl)
    .default([])
    .describe(
      'Where each `helixflow pool` runs that may lead, for gateways and nodes. None: this machine is alone.',
    ),
  poolHost: z.string().default('127.0.0.1').describe('Address that `helixflow pool` listens on.'),
  poolPort: port.default(9444).describe('Port that `helixflow pool` listens on.'),
  nodeHost: z.string().default('127.0.0.1').describe('Address that `helixflow node` listens on.'),
  nodePort: port
    .default(9445)
    .describe('Port at which the pool reaches `helixflow node`. 0 takes any free port.'),
  relayPort: port
    .default(9446)
    .describe('Port at which gateways reach the engines of `helixflow node`. 0 takes any free port.'),
  monitorUrl: secureUrl
    .optional()
    .describe('Where `helixflow monitor` runs; by default the process that has the database monitors.'),
  monitorHost: z.string().default('127.0.0.1').describe('Address that `helixflow monitor` listens on.'),
  monitorPort: port.default(9447).describe('Port that `helixflow monitor` listens on.'),
  nodeId: z
    .string()
    .regex(/^[\w.-]{1,63}$/)
    .optional()
    .describe(
      'What the pool calls this machine: unlike every other, the same at each start; by default its host name.',
    ),
  publicHost: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Name or address by which other machines reach this one, as in its certificate; by default the address that is listened on.',
    ),
})
