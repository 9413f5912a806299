-- A batch that is stored until some time after its end.
create table batch (
    id uuid primary key, project text not null, makes_project boolean not null, items_max bigint not null,
    -- What is asked beside each prompt.
    request text not null,
    -- The idempotency key that it was sent with.
    scope bytea unique, fingerprint bytea,
    total bigint not null, kept_ms bigint not null, created_at bigint not null,
    cancelled_at bigint, ended_at bigint, expires_at bigint,
    completed bigint not null, failed bigint not null, cost_nanos bigint not null, tokens bigint not null
) with (fillfactor = 50);
create index batch_project on batch (project, id);
create index batch_open on batch (id) where ended_at is null;
create index batch_expiry on batch (expires_at) where expires_at is not null;

create table item (
    batch uuid not null, place bigint not null, prompt text not null, name text,
    -- The process that works on it.
    epoch bigint,
    -- Its number among the results, as they came.
    number bigint, result text,
    primary key (batch, place)
);
create index item_waiting on item (batch, place) where number is null and epoch is null;
create index item_running on item (epoch, batch) where number is null and epoch is not null;
create index item_result on item (batch, number) where number is not null;
