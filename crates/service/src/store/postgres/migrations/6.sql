-- What `auto` goes by in a project: what may be lost to save money, and between which tiers it chooses.
alter table project add column routing text;
alter table project add column tier_min text;
alter table project add column tier_max text;

-- How the model of an item in a slice was chosen, in JSON.
alter table item add column route text;
