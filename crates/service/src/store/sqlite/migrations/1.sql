-- Money in nano-dollars, days since 1970-01-01, moments in milliseconds since then, all UTC.
-- Period 0 is the day, 1 the ISO week, 2 the month; start is its first day.

create table project (
    id text primary key,
    tokens_per_day integer, nanos_per_day integer,
    tokens_per_week integer, nanos_per_week integer,
    tokens_per_month integer, nanos_per_month integer,
    calls_max integer, requests_per_minute integer,
    clamp text not null,
    created_by_use integer not null
) strict, without rowid;

create table counter (
    project text not null, period integer not null, start integer not null,
    spent_tokens integer not null, spent_nanos integer not null,
    held_tokens integer not null, held_nanos integer not null,
    primary key (project, period, start)
) strict, without rowid;

create table usage (
    project text not null, period integer not null, start integer not null, model text not null,
    requests integer not null, input_tokens integer not null, output_tokens integer not null, cost_nanos integer not null,
    primary key (project, period, start, model)
) strict, without rowid;

-- Ids sort by time, so that rows are appended though the key is the id.
create table reservation (
    id blob primary key, call blob not null, project text not null, epoch integer not null, day integer not null,
    held_tokens integer not null, held_nanos integer not null, model text not null, input_tokens integer not null,
    reserved_at integer not null
) strict, without rowid;

create table entry (
    id blob primary key, call blob not null, project text not null, day integer not null,
    model text not null, model_id text not null, backend text not null,
    input_tokens integer not null, output_tokens integer not null,
    cache_write_5m_tokens integer not null, cache_write_1h_tokens integer not null, cache_read_tokens integer not null,
    cost_nanos integer not null, exact integer not null, unpriced integer not null, ended text not null,
    overrun_tokens integer not null, overrun_nanos integer not null,
    reserved_at integer not null, settled_at integer not null, settled_by text not null
) strict, without rowid;

-- A process that has had the folder: its number goes up by one with every start.
create table epoch (id integer primary key, began_at integer not null) strict;
