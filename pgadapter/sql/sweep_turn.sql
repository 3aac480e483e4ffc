-- Lock 2 of the schema, the sweep: one node at a time counts the sessions that are
-- parked, before any lock on one of them.
select from /*schema.*/meta for update
