-- What each request cost. Partitions are months (UTC): old ones are dropped whole, which costs nothing, and the four
-- hundred days that are kept by default make 14 or 15 of them, few enough that planning a query stays cheap. Inserts
-- go to the right end of each index, so that their cost does not grow with the size of a month.
create table usage_records (
  organisation_id text not null,
  started_at timestamptz not null,
  -- Unique by itself; a unique index on a partitioned table must hold the partition's column too.
  request_id text not null,
  project_id text not null,
  key_id text not null,
  model text not null,
  route text not null,
  status smallint not null,
  error_code text,
  prompt_tokens bigint not null check (prompt_tokens >= 0),
  completion_tokens bigint not null check (completion_tokens >= 0),
  cached_tokens bigint not null check (cached_tokens >= 0),
  -- The engine did not say how many tokens: they were counted from what it sent.
  estimated boolean not null,
  streamed boolean not null,
  duration_ms double precision not null,
  first_token_ms double precision,
  instance text not null,
  -- The caller's own label for its user.
  user_label text,
  primary key (organisation_id, started_at, request_id)
) partition by range (started_at);

create index usage_records_of_project on usage_records (organisation_id, project_id, started_at, request_id);

-- Takes what no month was made for, so that no row is ever refused; it is moved when its month is made.
create table usage_records_default partition of usage_records default;

-- Sums per hour, added to in the statement that inserts the rows. They hold no key and no user.
create table usage_hourly (
  organisation_id text not null,
  hour timestamptz not null,
  project_id text not null,
  model text not null,
  requests bigint not null,
  errors bigint not null,
  prompt_tokens bigint not null,
  completion_tokens bigint not null,
  cached_tokens bigint not null,
  primary key (organisation_id, hour, project_id, model)
) with (fillfactor = 70);

create index usage_hourly_of_project on usage_hourly (organisation_id, project_id, hour);
create index usage_hourly_of_model on usage_hourly (organisation_id, model, hour);
create index usage_hourly_by_age on usage_hourly (hour);

do $$
declare
  of_tenants text;
begin
  -- The partition too: a statement that names it goes past the wall of the whole.
  foreach of_tenants in array array['usage_records', 'usage_records_default', 'usage_hourly'] loop
    execute format('alter table %I enable row level security', of_tenants);
    execute format('alter table %I force row level security', of_tenants);
    execute format(
      'create policy tenant on %I using (current_setting(''helixflow.organisation'', true) in (''*'', organisation_id))',
      of_tenants
    );
  end loop;
end $$;
