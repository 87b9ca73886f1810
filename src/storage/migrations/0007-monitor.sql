-- What the monitor keeps of the whole platform. None of it is a tenant's: it tells of machines and processes.

-- Key figures, each with the labels by which its series are told apart. Bounded by what processes export.
create table history_series (
  id integer generated always as identity primary key,
  figure text not null,
  labels jsonb not null,
  unique (figure, labels)
);

-- Points of three resolutions; a coarse one is made of the finer ones within it.
create table history_points (
  series_id integer not null references history_series on delete cascade,
  -- Seconds that a point stands for: 10, 60 or 3600.
  resolution integer not null,
  -- Where they begin: a whole multiple of the resolution, hence the same whoever writes it, and however often.
  at timestamptz not null,
  value double precision not null,
  low double precision not null,
  high double precision not null,
  primary key (series_id, resolution, at)
);
-- For what is rolled up, and for what is dropped.
create index history_points_by_time on history_points (resolution, at);

-- What a monitor must know after a restart, by what it is about: alerts that pend or fire.
create table monitor_states (
  name text primary key,
  state jsonb not null,
  saved_at timestamptz not null
);

-- Alerts that nobody is to be told of for a time.
create table alert_silences (
  id text primary key,
  -- By name of the label; `alert` is the alert's own name. All must be so.
  matchers jsonb not null,
  until timestamptz not null,
  reason text not null,
  made_by text not null,
  created_at timestamptz not null
);
create index alert_silences_by_end on alert_silences (until);

-- What receivers are to be told, once each: the same notification for another receiver is another row.
create table notifications (
  id text not null,
  receiver text not null,
  -- Notifications of one group reach a receiver in the order in which they were made.
  group_key text not null,
  ordinal bigint generated always as identity,
  body jsonb not null,
  attempts integer not null default 0,
  -- When it may be tried next. Whoever tries it moves this ahead first, so that nobody else does meanwhile.
  next_at timestamptz not null,
  created_at timestamptz not null,
  -- Null while it is to be delivered.
  done_at timestamptz,
  outcome text,
  primary key (id, receiver)
);
create index notifications_due on notifications (receiver, ordinal) where done_at is null;
create index notifications_by_age on notifications (created_at);
