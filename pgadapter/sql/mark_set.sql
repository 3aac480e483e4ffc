-- Later checkpoints of node $1 continue this one.
insert into /*schema.*/node_marks (id) values ($1) on conflict do nothing
