create table organisations (
  id text primary key,
  name text not null,
  created_at timestamptz not null
);

create table projects (
  id text primary key,
  organisation_id text not null references organisations (id),
  name text not null,
  created_at timestamptz not null,
  -- What the composite foreign keys of other tables point to: a row cannot name one tenant and another's project.
  unique (organisation_id, id)
);

create table api_keys (
  -- The public part of the key. The secret part is nowhere.
  id text primary key,
  organisation_id text not null,
  project_id text not null,
  name text not null,
  secret_hmac bytea not null check (octet_length(secret_hmac) = 32),
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  foreign key (organisation_id, project_id) references projects (organisation_id, id)
);

create index api_keys_of_project on api_keys (organisation_id, project_id, created_at);

-- At most one row: with which pepper every secret_hmac was made, so that a lost pepper file is noticed at start and
-- not as a sudden invalidity of every key.
create table api_key_pepper (
  only_row boolean primary key default true check (only_row),
  fingerprint bytea not null
);
