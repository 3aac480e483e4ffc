-- A node begins a life.
insert into /*schema.*/nodes (id, name, position) values ($1, $2, $3)
