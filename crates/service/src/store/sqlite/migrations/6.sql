-- What calls on a subscription would have cost, and whether a project may make them that limits money only.
alter table entry add column notional_nanos integer not null default 0;
alter table usage add column notional_nanos integer not null default 0;
alter table reservation add column notional_nanos integer not null default 0;
alter table project add column allow_notional integer not null default 0;
