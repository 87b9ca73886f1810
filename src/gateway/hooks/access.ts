import type { FastifyInstance } from 'fastify'
import type { Permission } from '../../contracts/permissions.ts'
import { HelixError } from '../../core/errors.ts'

/** Who may use a route: everybody, whoever is known (the service behind it decides), or who has a permission. */
export type Access = 'public' | 'authenticated' | Permission

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
}

/** A route that does not say who may use it ends the start: forgetting it must not open a door. */
export function requireAccess(app: FastifyInstance): void {
  app.addHook('onRoute', ({ method, url, config }) => {
    if (config?.access !== undefined) return
    throw new HelixError('internal_error', 'Internal error.', {
      internal: `${String(method)} ${url} does not say who may use it`,
    })
  })
}
