-- Lock 2 of the schema, the sweep: one node at a time counts the parked sessions, before
-- it locks any of them.
select from /*schema.*/meta for update
