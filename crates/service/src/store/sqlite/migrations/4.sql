-- A batch that is stored until some time after its end.
create table batch (
    id blob primary key, project text not null, makes_project integer not null, items_max integer not null,
    -- What is asked beside each prompt.
    request text not null,
    -- The idempotency key that it was sent with.
    scope blob unique, fingerprint blob,
    total integer not null, kept_ms integer not null, created_at integer not null,
    cancelled_at integer, ended_at integer, expires_at integer,
    completed integer not null, failed integer not null, cost_nanos integer not null, tokens integer not null
) strict, without rowid;
create index batch_project on batch (project, id);
create index batch_open on batch (id) where ended_at is null;
create index batch_expiry on batch (expires_at) where expires_at is not null;

create table item (
    batch blob not null, place integer not null, prompt text not null, name text,
    -- The process that works on it.
    epoch integer,
    -- Its number among the results, as they came.
    number integer, result text,
    primary key (batch, place)
) strict;
create index item_waiting on item (batch, place) where number is null and epoch is null;
create index item_running on item (batch) where number is null and epoch is not null;
create index item_result on item (batch, number) where number is not null;
