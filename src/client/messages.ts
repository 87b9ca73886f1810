import type { ClientMessageInput, ServerMessage } from '../contracts/realtime.ts'

export type { ClientMessageInput, ServerMessage }

type Of<Type extends ServerMessage['type']> = Extract<ServerMessage, { readonly type: Type }>

export type Welcome = Of<'welcome'>
export type Ack = Of<'ack'>
export type Resumed = Of<'resumed'>
export type StreamMessage = Of<
  'stream.start' | 'stream.delta' | 'stream.event' | 'stream.end' | 'stream.error'
>
export type StreamEnd = Of<'stream.end'>
export type TopicMessage = Of<'event'>
export type Hello = Extract<ClientMessageInput, { readonly type: 'hello' }>
export type Failure = Pick<Of<'error'>, 'error' | 'status' | 'retryable' | 'retry_after_ms'>

/** A request as it is made, without the name that it gets. */
export type Request =
  | Extract<ClientMessageInput, { readonly type: 'chat.create' | 'response.create' }>
  | Unnamed<
      'response.cancel' | 'resume' | 'subscribe' | 'unsubscribe' | 'publish' | 'broadcast' | 'auth.refresh'
    >

type Unnamed<Type extends ClientMessageInput['type']> = Type extends unknown
  ? Omit<Extract<ClientMessageInput, { readonly type: Type }>, 'id'>
  : never
