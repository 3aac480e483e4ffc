-- Registers a node, with its server if it has one. It reads frames up to version $7, and runs as the process $9 of
-- the host $8, with the version $10 of this module.
insert into /*schema.*/nodes (id, name, position, retention_ms, lease_ms, server, bound, frames, host, pid, version)
values ($1, $2, $3::bigint, $4, $5, nullif($6::text, ''), case when $6::text <> '' then $3::bigint end, $7,
        nullif($8::text, ''), $9, nullif($10::text, ''))
