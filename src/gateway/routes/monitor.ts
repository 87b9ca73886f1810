import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { type MonitorClient, RESOLUTIONS } from '../../contracts/monitor.ts'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'

export interface MonitorRouteParts {
  /** Undefined where there is none that this gateway knows. */
  readonly monitor: MonitorClient | undefined
  readonly clock: Clock
}

const NAMES_MAX = 200
const HISTORY_MS = 3_600_000
const KPIS_MS = 30 * 86_400_000

const name = z.string().min(1).max(256)
const moment = z.coerce.number().int().min(0).max(8.64e15)
const span = { fromMs: moment.optional(), toMs: moment.optional() }

const HistoryParameters = z.strictObject({
  ...span,
  /** Several with commas between; all where it is not given. */
  figures: z.string().min(1).max(8_192).optional(),
  resolution: z.enum(RESOLUTIONS).optional(),
})
const KpiParameters = z.strictObject({
  ...span,
  organisationId: name.optional(),
  projectId: name.optional(),
  groupBy: z.enum(['organisation', 'project', 'model']).default('model'),
})
const NewSilence = z.strictObject({
  matchers: z
    .record(name, z.string().max(1_024))
    .refine((matchers) => Object.keys(matchers).length > 0, 'name at least one label, or alert'),
  untilMs: z.int().min(0).max(8.64e15),
  reason: z.string().min(1).max(1_024),
})

const NotificationParameters = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1_000).default(50),
})

interface Asked {
  readonly fromMs?: number | undefined
  readonly toMs?: number | undefined
}

/**
 * GET /healthz, for whoever comes: the verdict alone, for the names of parts and what is wrong with them is nobody's
 * business who has no credential. 503 where requests fail, and where nobody can say.
 */
export function healthz({ monitor }: MonitorRouteParts) {
  return async (_request: FastifyRequest, reply: FastifyReply) => {
    try {
      const { verdict } = await present(monitor).health()
      return await reply.code(verdict === 'failed' ? 503 : 200).send({ status: verdict })
    } catch (reason) {
      const { code, publicMessage: message } = HelixError.from(reason)
      return reply.code(503).send({ status: 'unknown', reasons: [{ code, message }] })
    }
  }
}

/** What the monitor knows, for those who may manage models and for the operator: it is about machines and not tenants. */
export function registerMonitor(
  app: FastifyInstance,
  { monitor, clock }: MonitorRouteParts,
  whoIs: (request: FastifyRequest) => string,
): void {
  const route = { config: { access: 'models.manage' } } as const
  const spanOf = ({ fromMs, toMs = clock.now() }: Asked, lengthMs: number) => ({
    fromMs: fromMs ?? toMs - lengthMs,
    toMs,
  })
  app.get('/admin/v1/monitor/health', route, () => present(monitor).health())
  app.get('/admin/v1/monitor/history', route, async ({ query }) => {
    const { figures, resolution, ...asked } = parseRequest(HistoryParameters, query)
    const names = figures?.split(',', NAMES_MAX)
    const series = await present(monitor).history({
      ...spanOf(asked, HISTORY_MS),
      figures: names,
      resolution,
    })
    return { series }
  })
  app.get('/admin/v1/monitor/alerts', route, async () => ({ alerts: await present(monitor).alerts() }))
  app.get('/admin/v1/monitor/notifications', route, async ({ query }) => {
    const { limit } = parseRequest(NotificationParameters, query)
    return { notifications: await present(monitor).notifications(limit) }
  })
  app.get('/admin/v1/monitor/silences', route, async () => ({ silences: await present(monitor).silences() }))
  app.post('/admin/v1/monitor/silences', route, async (request) => {
    const asked = parseRequest(NewSilence, parseJson(request.body as Buffer))
    return present(monitor).silence({ ...asked, by: whoIs(request) })
  })
  app.delete<{ Params: { id: string } }>('/admin/v1/monitor/silences/:id', route, async ({ params }) => {
    await present(monitor).unsilence(params.id)
    return { removed: true }
  })
}

/** What belongs to all tenants, or to none: for whoever can open the control socket alone. */
export function registerMonitorOfOperator(app: FastifyInstance, { monitor, clock }: MonitorRouteParts): void {
  app.get('/admin/v1/monitor/kpis', async ({ query }) => {
    const { fromMs, toMs = clock.now(), ...asked } = parseRequest(KpiParameters, query)
    return present(monitor).kpis({ ...asked, fromMs: fromMs ?? toMs - KPIS_MS, toMs })
  })
  app.post<{ Params: { name: string } }>('/admin/v1/monitor/receivers/:name/test', async ({ params }) => {
    await present(monitor).testReceiver(params.name)
    return { delivered: true }
  })
}

/** @throws HelixError `monitor_unavailable` */
function present(monitor: MonitorClient | undefined): MonitorClient {
  if (monitor) return monitor
  throw new HelixError(
    'monitor_unavailable',
    'This gateway knows of no monitor: set rpc.monitorUrl, or monitor.enabled where the database is.',
  )
}
