-- Which pool leads, and how many have. One row at most; who leads is decided by an advisory lock, and told here.
create table pool_leader (
  single boolean primary key default true check (single),
  -- Greater with each that begins to lead: nodes refuse who has a lesser one than they have heard of.
  epoch bigint not null,
  url text not null,
  -- The server's process that holds the lock.
  backend_pid integer not null,
  renewed_at timestamptz not null
);
