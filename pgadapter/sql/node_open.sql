-- A node begins a life.
insert into /*schema.*/nodes (id, name, position, retention_ms, lease_ms) values ($1, $2, $3, $4, $5)
