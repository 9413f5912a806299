-- A batch that an upstream runs when it has room, at half price.
alter table batch add column economy boolean not null default false;

-- Items of one that are held for and submitted together.
create table slice (
    id uuid primary key, batch uuid not null,
    -- The process that works on it.
    epoch bigint,
    -- The batch that upstream has of it; null: an intent, of which it is not known whether upstream has it.
    upstream text unique,
    -- Whether that was found among upstream's batches, so that only its results show whether it is the right one.
    adopted boolean not null default false,
    created_at bigint not null,
    -- When it was submitted for the last time; null: it was refused since.
    sent_at bigint,
    ended_at bigint
) with (fillfactor = 50);
create index slice_open on slice (epoch) where ended_at is null;
create index slice_batch on slice (batch);

-- The slice that an item is in, what it is held under, and how often it was submitted.
alter table item add column slice uuid, add column entry uuid, add column attempts bigint not null default 0;
drop index item_waiting;
create index item_waiting on item (batch, place) where number is null and epoch is null and slice is null;
create index item_sliced on item (batch, slice) where number is null and slice is not null;
