create table key (
    id blob primary key, hash blob not null unique, hint text not null, name text not null,
    -- Null: an admin key.
    project text,
    created_at integer not null, expires_at integer, revoked_at integer
) strict, without rowid;
