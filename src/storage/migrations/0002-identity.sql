-- Trigram search over the audit log; both are "trusted", so that the owner of a database may create them.
create extension if not exists pg_trgm;
create extension if not exists btree_gin;

alter table organisations add column archived_at timestamptz;
alter table projects add column archived_at timestamptz;
create index organisations_by_age on organisations (created_at, id);
create index projects_of_organisation on projects (organisation_id, created_at, id);

-- A person, in however many organisations. Nothing of it is visible to an organisation it does not belong to.
create table users (
  id text primary key,
  email text not null,
  -- What it is found by. A column and not lower(email) in the index: under row-level security PostgreSQL uses an index
  -- for plain comparisons alone.
  email_lower text not null generated always as (lower(email)) stored unique,
  name text not null,
  -- argon2id in its own text form; null for one who logs in elsewhere
  password_hash text,
  created_at timestamptz not null,
  disabled_at timestamptz
);

-- Who a user is at an identity provider.
create table external_identities (
  issuer text not null,
  subject text not null,
  user_id text not null references users (id),
  created_at timestamptz not null,
  primary key (issuer, subject)
);
create index external_identities_of_user on external_identities (user_id);

-- A role in the whole organisation (no project), or in one of its projects.
create table memberships (
  organisation_id text not null references organisations (id),
  user_id text not null references users (id),
  project_id text,
  role text not null check (role in ('owner', 'admin', 'developer', 'viewer', 'billing')),
  -- From a group at the identity provider; replaced at each login. Roles given here are left alone.
  from_provider boolean not null default false,
  created_at timestamptz not null,
  check (project_id is null or role <> 'owner'),
  foreign key (organisation_id, project_id) references projects (organisation_id, id)
);
create unique index memberships_in_organisation on memberships (organisation_id, user_id) where project_id is null;
create unique index memberships_in_project on memberships (organisation_id, user_id, project_id)
  where project_id is not null;
create index memberships_of_organisation on memberships (organisation_id, user_id);
create index memberships_of_project on memberships (organisation_id, project_id);
create index memberships_of_user on memberships (user_id);

create table service_accounts (
  id text primary key,
  organisation_id text not null,
  project_id text not null,
  name text not null,
  role text not null check (role in ('admin', 'developer', 'viewer', 'billing')),
  created_at timestamptz not null,
  disabled_at timestamptz,
  foreign key (organisation_id, project_id) references projects (organisation_id, id)
);
create index service_accounts_of_project on service_accounts (organisation_id, project_id, created_at, id);

alter table api_keys
  add column user_id text references users (id),
  add column service_account_id text references service_accounts (id),
  -- What the key may do, at most what its owner may.
  add column scopes text[] not null default '{inference}',
  -- Models it may use; null: all.
  add column models text[],
  -- Addresses it may come from, as CIDR; null: any.
  add column ip_rules text[],
  add column replaced_by text references api_keys (id),
  add constraint api_keys_one_owner check (user_id is null or service_account_id is null);
drop index api_keys_of_project;
create index api_keys_of_organisation on api_keys (organisation_id, created_at, id);
create index api_keys_of_project on api_keys (organisation_id, project_id, created_at, id);
create index api_keys_of_user on api_keys (user_id);
create index api_keys_of_service_account on api_keys (service_account_id);
create index api_keys_replaced_by on api_keys (replaced_by);

-- A login. Its refresh token changes at each use; an old one that comes again ends the session, since one of two
-- holders must be a thief.
create table sessions (
  id text primary key,
  organisation_id text not null references organisations (id),
  user_id text not null references users (id),
  refresh_hash bytea not null check (octet_length(refresh_hash) = 32),
  created_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index sessions_of_user on sessions (user_id);
create index sessions_of_organisation on sessions (organisation_id, user_id);
create index sessions_by_expiry on sessions (expires_at);

-- Keys that tokens are signed with. The private half is sealed with a secret that is not in the database.
create table signing_keys (
  id text primary key,
  public_jwk jsonb not null,
  sealed_private_jwk bytea not null,
  created_at timestamptz not null,
  -- No longer signs; verifies until tokens that it signed have expired.
  retired_at timestamptz
);

-- Every administrative change, in a chain per organisation: each entry holds the hash of the one before it.
create table audit_log (
  organisation_id text not null,
  number bigint not null,
  at timestamptz not null,
  actor text not null,
  action text not null,
  target text not null,
  project_id text,
  request_id text,
  source text,
  details jsonb not null,
  previous_hash bytea not null,
  hash bytea not null,
  primary key (organisation_id, number)
);
create index audit_log_by_time on audit_log (organisation_id, at, number);

-- What a search looks through. A table of its own without row-level security: under that, PostgreSQL would not use
-- an index for a condition such as ilike. It is only ever read joined with audit_log, which has the wall.
create table audit_search (
  organisation_id text not null,
  number bigint not null,
  text text not null,
  primary key (organisation_id, number),
  foreign key (organisation_id, number) references audit_log (organisation_id, number)
);
create index audit_search_by_trigram on audit_search using gin (organisation_id, text gin_trgm_ops);

-- The newest entry of each chain; locked by whoever adds the next.
create table audit_heads (
  organisation_id text primary key,
  number bigint not null,
  hash bytea not null
);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'audit_log is append-only';
end $$;
create trigger audit_log_append_only before update or delete on audit_log
  for each row execute function refuse_change();
create trigger audit_log_no_truncate before truncate on audit_log
  for each statement execute function refuse_change();

-- Answers to requests that carried an Idempotency-Key, sealed: one of them may hold a new API key.
create table idempotent_answers (
  organisation_id text not null,
  actor text not null,
  key_hash bytea not null,
  request_hash bytea not null,
  sealed_answer bytea not null,
  created_at timestamptz not null,
  primary key (organisation_id, actor, key_hash)
);
create index idempotent_answers_by_age on idempotent_answers (created_at);

-- The second wall between tenants, behind the `where` of each statement: without a transaction that says for which
-- organisation it speaks (storage/tenancy.ts), these tables are empty. '*' is the platform itself.
create function tenant_is(organisation_id text) returns boolean language sql stable parallel safe as $$
  select current_setting('helixflow.organisation', true) in ('*', organisation_id)
$$;

do $$
declare
  of_tenants text;
begin
  foreach of_tenants in array array['projects', 'memberships', 'service_accounts', 'api_keys', 'sessions',
                                    'audit_log', 'audit_heads', 'idempotent_answers'] loop
    execute format('alter table %I enable row level security', of_tenants);
    execute format('alter table %I force row level security', of_tenants);
    execute format('create policy tenant on %I using (tenant_is(organisation_id))', of_tenants);
  end loop;
end $$;

alter table organisations enable row level security;
alter table organisations force row level security;
create policy tenant on organisations using (tenant_is(id));

alter table users enable row level security;
alter table users force row level security;
create policy tenant on users using (
  current_setting('helixflow.organisation', true) = '*'
  or exists (select from memberships where memberships.user_id = users.id)
);
