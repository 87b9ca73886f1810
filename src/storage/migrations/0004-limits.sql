-- How much there may be of something. A rule lies on its organisation, a project, a key or a user of it.
create table limit_rules (
  id text primary key,
  organisation_id text not null references organisations (id),
  holder_kind text not null check (holder_kind in ('organisation', 'project', 'key', 'user')),
  holder_id text not null,
  -- The project that it lies on, or whose key it lies on: who may see the project may see the rule.
  project_id text,
  key_id text references api_keys (id),
  user_id text references users (id),
  each text check (each in ('project', 'key', 'user')),
  measure text not null
    check (measure in ('requests', 'tokens', 'input_tokens', 'output_tokens', 'concurrency', 'money')),
  -- Null: all models together.
  model text,
  -- Requests, tokens, simultaneous requests, or money in billionths.
  amount bigint not null check (amount > 0),
  algorithm text not null check (algorithm in ('token-bucket', 'sliding-window', 'fixed-window')),
  window_ms bigint not null check (window_ms >= 0),
  burst bigint check (burst > 0),
  period text check (period in ('day', 'week', 'month')),
  shape_max_wait_ms bigint not null check (shape_max_wait_ms >= 0),
  -- What the rule is about, without how much: a holder has one rule for each.
  slot text not null,
  created_at timestamptz not null,
  check (holder_id is not distinct from case holder_kind
    when 'organisation' then organisation_id when 'project' then project_id when 'key' then key_id else user_id end),
  foreign key (organisation_id, project_id) references projects (organisation_id, id),
  -- Also how the rules that bind a caller are found.
  unique (organisation_id, holder_id, slot)
);
create index limit_rules_by_age on limit_rules (organisation_id, created_at, id);
create index limit_rules_of_project on limit_rules (organisation_id, project_id, created_at, id);
create index limit_rules_of_key on limit_rules (key_id);
create index limit_rules_of_user on limit_rules (user_id);

alter table usage_records
  -- In billionths of the unit that the prices are in.
  add column cost bigint not null default 0 check (cost >= 0),
  -- The person behind the request, where there is one.
  add column user_id text,
  -- The answer was kept from an earlier request, or shared with one that ran.
  add column cache text check (cache in ('hit', 'coalesced'));
alter table usage_hourly add column cost bigint not null default 0;

-- What was spent, added to in the statement that inserts the records: what budgets are compared with. Days are UTC's.
create table spend_daily (
  organisation_id text not null,
  day date not null,
  project_id text not null,
  key_id text not null,
  -- '' where nobody is behind the request.
  user_id text not null,
  model text not null,
  cost bigint not null,
  primary key (organisation_id, day, project_id, key_id, user_id, model)
) with (fillfactor = 70);
create index spend_daily_of_project on spend_daily (organisation_id, project_id, day);
create index spend_daily_of_key on spend_daily (organisation_id, key_id, day);
create index spend_daily_of_user on spend_daily (organisation_id, user_id, day);
create index spend_daily_by_age on spend_daily (day);

-- What requests under way may cost at most, once for each subject and model whose budget it was taken from.
create table spend_reservations (
  organisation_id text not null,
  request_id text not null,
  subject_kind text not null,
  subject_id text not null,
  -- '' for a budget of all models.
  model text not null,
  cost bigint not null check (cost >= 0),
  expires_at timestamptz not null,
  primary key (request_id, organisation_id, subject_kind, subject_id, model)
);
create index spend_reservations_of_subject on spend_reservations (organisation_id, subject_kind, subject_id, model);
create index spend_reservations_by_expiry on spend_reservations (expires_at);

do $$
declare
  of_tenants text;
begin
  foreach of_tenants in array array['limit_rules', 'spend_daily', 'spend_reservations'] loop
    execute format('alter table %I enable row level security', of_tenants);
    execute format('alter table %I force row level security', of_tenants);
    execute format(
      'create policy tenant on %I using (current_setting(''helixflow.organisation'', true) in (''*'', organisation_id))',
      of_tenants
    );
  end loop;
end $$;
