create table key (
    id blob primary key, hash blob not null unique, hint text not null, name text not null,
    -- Null: an admin key.
    project text,
    created_at integer not null, expires_at integer, revoked_at integer
) strict, without rowid;

-- An idempotency key, by the hash of project, endpoint and key.
create table claim (
    scope blob primary key, fingerprint blob not null, state text not null, call blob not null, entry blob not null,
    kept_ms integer not null, expires_at integer
) strict, without rowid;
create index claim_expiry on claim (expires_at) where expires_at is not null;

-- The only content at rest, for as long as its claim stands.
create table answer (scope blob primary key, body blob not null) strict;

alter table reservation add column claim blob;
