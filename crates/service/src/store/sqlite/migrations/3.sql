-- Whether what was held bounds the call: without a limit, a call may hold what nobody can bound.
alter table reservation add column bounded integer not null default 1;
alter table entry add column bounded integer not null default 1;
