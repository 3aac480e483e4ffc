-- Registers a node, with its server if it has one. It reads frames up to version $7.
insert into /*schema.*/nodes (id, name, position, retention_ms, lease_ms, server, bound, frames)
values ($1, $2, $3::bigint, $4, $5, nullif($6::text, ''), case when $6::text <> '' then $3::bigint end, $7)
