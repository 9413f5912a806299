-- Money in nano-dollars, days since 1970-01-01, moments in milliseconds since then, all UTC.
-- Period 0 is the day, 1 the ISO week, 2 the month; start is its first day.

-- What the time is. Nobody's clock but the database's decides which window a call is of.
create function now_ms() returns bigint volatile language sql
    as $$ select (extract(epoch from clock_timestamp()) * 1000)::bigint $$;

create table project (
    id text primary key,
    tokens_per_day bigint, nanos_per_day bigint,
    tokens_per_week bigint, nanos_per_week bigint,
    tokens_per_month bigint, nanos_per_month bigint,
    calls_max bigint, requests_per_minute bigint,
    clamp text not null,
    created_by_use boolean not null
);

create table counter (
    project text not null, period int not null, start int not null,
    spent_tokens bigint not null, spent_nanos bigint not null,
    held_tokens bigint not null, held_nanos bigint not null,
    primary key (project, period, start)
) with (fillfactor = 50);

create table usage (
    project text not null, period int not null, start int not null, model text not null,
    requests bigint not null, input_tokens bigint not null, output_tokens bigint not null, cost_nanos bigint not null,
    primary key (project, period, start, model)
) with (fillfactor = 50);

create table reservation (
    id uuid primary key, call uuid not null, project text not null, epoch bigint not null, day int not null,
    held_tokens bigint not null, held_nanos bigint not null, model text not null, input_tokens bigint not null,
    reserved_at bigint not null, claim bytea
);
create index reservation_project on reservation (project);
create index reservation_epoch on reservation (epoch);

create table entry (
    id uuid primary key, call uuid not null, project text not null, day int not null,
    model text not null, model_id text not null, backend text not null,
    input_tokens bigint not null, output_tokens bigint not null,
    cache_write_5m_tokens bigint not null, cache_write_1h_tokens bigint not null, cache_read_tokens bigint not null,
    cost_nanos bigint not null, exact boolean not null, unpriced boolean not null, ended text not null,
    overrun_tokens bigint not null, overrun_nanos bigint not null,
    reserved_at bigint not null, settled_at bigint not null, settled_by text not null
);

-- A process that serves from this database. It lives for as long as it counts its beats, and is dead from `dead_at` on.
create table epoch (
    id bigint generated always as identity primary key,
    began_at bigint not null,
    -- How long it may be silent.
    ttl_ms bigint not null,
    beat bigint not null default 0, dead_at bigint
);
create index epoch_alive on epoch (id) where dead_at is null;

create table key (
    id uuid primary key, hash bytea not null unique, hint text not null, name text not null,
    -- Null: an admin key.
    project text,
    created_at bigint not null, expires_at bigint, revoked_at bigint
);

-- Goes up with every change of a key or of what a project may use.
create table directory (version bigint not null);
insert into directory values (0);

-- An idempotency key, by the hash of project, endpoint and key.
create table claim (
    scope bytea primary key, fingerprint bytea not null, state text not null, call uuid not null, entry uuid not null,
    kept_ms bigint not null, expires_at bigint
);
create index claim_expiry on claim (expires_at) where expires_at is not null;

-- The only content at rest, for as long as its claim stands.
create table answer (scope bytea primary key, body bytea not null);
