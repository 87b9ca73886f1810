-- Answers of the Responses API that were to be kept, with what was asked: what a later request continues.
create table responses (
  -- Unguessable; whose it is is asked all the same.
  id text primary key,
  organisation_id text not null,
  project_id text not null,
  -- Who asked.
  actor text not null,
  -- The response that it continues, which may be gone.
  previous_id text,
  status text not null
    check (status in ('queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled')),
  model text not null,
  background boolean not null,
  -- Items as they were given and made, and the response object without them: settings, usage, error, metadata. Not
  -- jsonb: nothing looks inside, and jsonb takes no text that holds \u0000.
  input json not null,
  output json not null,
  response json not null,
  -- Of input and output: how much of a conversation is read is bounded.
  size_bytes integer not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  -- Until when the gateway that makes it answers for it; null: it has ended.
  lease_until timestamptz
);
create index responses_by_expiry on responses (expires_at);

alter table responses enable row level security;
alter table responses force row level security;
create policy tenant on responses
  using (current_setting('helixflow.organisation', true) in ('*', organisation_id));
