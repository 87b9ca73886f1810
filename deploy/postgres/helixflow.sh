#!/bin/sh
# Runs once, when the database is empty. The program works as a role that is no superuser: tenants are kept apart by
# row-level security, which superusers pass by. pgvector (for the semantic cache) only a superuser may create.
set -eu
psql --set=ON_ERROR_STOP=1 --set=password="$HELIXFLOW_DATABASE_PASSWORD" --username "$POSTGRES_USER" --dbname postgres <<'SQL'
create role helixflow login nosuperuser nocreatedb nocreaterole password :'password';
create database helixflow owner helixflow;
\connect helixflow
create extension vector;
SQL
