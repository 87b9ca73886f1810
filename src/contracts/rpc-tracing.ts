import { createContextKey, type HandlerContext, type Interceptor } from '@connectrpc/connect'
import { HelixError } from '../core/errors.ts'
import { noSpan, noTracer, type Span, type Tracer } from '../core/tracing.ts'
import { fromConnectError } from './rpc-errors.ts'

const SPAN = createContextKey<Span>(noSpan)

/**
 * Goes on with the traces of the services that call. Each of them has the certificate of this platform, hence its word on
 * what is recorded is ours.
 */
export function followTraces(tracer: Tracer): Interceptor[] {
  if (tracer === noTracer) return []
  return [
    (next) => async (call) => {
      const traceparent = call.header.get('traceparent')
      if (traceparent === null) return next(call)
      const headers = { traceparent, tracestate: call.header.get('tracestate') ?? undefined }
      const span = tracer.follow(`${call.service.typeName}/${call.method.name}`, 'server', headers, {
        'rpc.system.name': 'grpc',
        'rpc.method': `${call.service.typeName}/${call.method.name}`,
      })
      call.contextValues.set(SPAN, span)
      try {
        const answer = await next(call)
        span.end()
        return answer
      } catch (reason) {
        span.end(fromConnectError(reason, HelixError.from(reason)))
        throw reason
      }
    },
  ]
}

/** Of a call that is being answered. */
export function spanOf({ values }: HandlerContext): Span {
  return values.get(SPAN)
}
