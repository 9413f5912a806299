-- Whether what was held bounds the call: without a limit, a call may hold what nobody can bound.
alter table reservation add column bounded boolean not null default true;
alter table entry add column bounded boolean not null default true;
